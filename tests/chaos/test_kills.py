"""`kill -9` at the worst moments: nothing acknowledged is lost, nothing dies of it, only what was cut off repeats."""

from random import Random

from .kills import AT_RANDOM, POINTS, killed
from .stage import Stage


def test_the_books_balance_after_a_death_at_every_fault_point(stage: Stage, engine: str) -> None:
    account, deaths = killed(stage, engine, [*POINTS[engine], AT_RANDOM], Random(1))
    assert deaths == dict.fromkeys([*POINTS[engine], AT_RANDOM], 1), "a fault point was not come by"
    assert account.events > 100
    assert account.lost > 0
    print(account)  # noqa: T201 - shown with -s
