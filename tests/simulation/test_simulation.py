"""Thousands of drawn schedules on the real engine, publishing and storage: none may break what must always hold."""

from collections import Counter
from collections.abc import Iterator

import pytest

from simulation.marks import MARKS
from simulation.mutants import MUTANTS, PACKAGE, Mutant
from simulation.play import Stage

SEEDS = range(5_000)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_no_schedule_breaks_an_invariant_and_every_rare_branch_is_taken(stage: Stage) -> None:
    marks: Counter[str] = Counter()
    for seed in SEEDS:
        result = stage.play(seed)
        assert result.violation is None, f"seed {seed}; to replay: make simulate SEEDS={seed}\n{result.violation}"
        marks.update(result.marks)
    assert not MARKS - marks.keys(), "these branches were never taken: the schedules have lost their teeth"


def test_same_seed_plays_the_same(stage: Stage) -> None:
    for seed in range(40):
        first, second = list[str](), list[str]()
        stage.play(seed, first.append)
        stage.play(seed, second.append)
        assert first == second


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_bug_that_is_planted_elsewhere_still_has_its_place(mutant: Mutant) -> None:
    assert mutant.before in (PACKAGE / mutant.file).read_text("utf-8")
