"""Cut the power of recorded runs, again and again, and judge what each cut leaves."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from msgspec import Struct, field

from powercut.disk import LOSSES, Disk, Files, Loss
from powercut.load import Recorded, record
from powercut.oracle import Oracle

IMAGES_PER_RUN: Final = 2_000
TRIES_PER_IMAGE: Final = 4
"""Many cuts leave the same bytes, and only different ones count; a short run has only so many."""
THOROUGH_SHARE: Final = 0.1
"""Of images whose every page and reference is checked too (`integrity_check`, `foreign_key_check`): that costs as much
again as the rest. All are read whole where it matters, and a broken page shows there as an error."""


class Cut(Struct, frozen=True):
    """One way to lose power: where in the recording, and which of the many disks it leaves."""

    seed: int
    position: int
    number: int

    @property
    def loss(self) -> Loss:
        return LOSSES[self.number % len(LOSSES)]

    def __str__(self) -> str:
        return f"{self.seed}:{self.position}:{self.number}"

    @classmethod
    def read(cls, text: str) -> "Cut":
        """Read what `str` wrote."""
        return cls(*map(int, text.split(":")))


class Finding(Struct, frozen=True):
    """What was wrong after one cut."""

    cut: Cut
    wrong: list[str]

    def __str__(self) -> str:
        lines = "\n  ".join(self.wrong)
        return (
            f"power cut {self.cut} ({self.cut.loss}):\n  {lines}\n"
            f"again: PYTHONPATH=tests .venv/bin/python -m powercut --again {self.cut}"
        )


class Report(Struct):
    """What was tried, and what came of it."""

    images: int = 0
    thorough: int = 0
    losses: Counter[Loss] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    """What had not been synced when the power went: a cut counts for each."""
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        """Take another report's numbers in."""
        self.images += other.images
        self.thorough += other.thorough
        self.losses.update(other.losses)
        self.struck.update(other.struck)
        self.findings.extend(other.findings)


def cut_runs(seeds: Iterator[int], images: int, *, synchronous: str = "FULL", findings_max: int = 3) -> Report:
    """Judge `images` different images of as many runs as they take; stop early where enough is wrong."""
    report = Report()
    while report.images < images and len(report.findings) < findings_max:
        part = min(IMAGES_PER_RUN, images - report.images)
        report.add(cut_run(next(seeds), part, synchronous=synchronous, findings_max=findings_max))
    return report


def cut_run(seed: int, images: int, *, synchronous: str = "FULL", findings_max: int = 3) -> Report:
    """Record one run and judge up to `images` different images of it."""
    report = Report()
    with _memory() as folder:
        recorded = _recorded(Path(folder), seed, synchronous)
        oracle, disk, seen = Oracle(recorded, Path(folder)), Disk(), set[int]()
        for cut, position in _cuts(recorded, seed, images):
            while disk.position < position:
                disk.take(recorded.recording.operations[disk.position])
            oracle.advance(position)
            files = disk.after_cut(Random(str(cut)), cut.loss)
            image = hash((oracle.promised, *sorted(files.items())))
            if image in seen:
                continue
            seen.add(image)
            _judge(report, oracle, cut, files)
            report.struck.update(disk.unsynced)
            if report.images == images or len(report.findings) == findings_max:
                break
    return report


def again(cut: Cut) -> Finding:
    """Judge one image once more, thoroughly."""
    with _memory() as folder:
        recorded = _recorded(Path(folder), cut.seed, "FULL")
        oracle, disk = Oracle(recorded, Path(folder)), Disk()
        for operation in recorded.recording.operations[: cut.position]:
            disk.take(operation)
        oracle.advance(cut.position)
        files = disk.after_cut(Random(str(cut)), cut.loss)
        return Finding(cut, oracle.judge(files, thoroughly=True))


def _judge(report: Report, oracle: Oracle, cut: Cut, files: Files) -> None:
    is_thorough = report.images % round(1 / THOROUGH_SHARE) == 0
    report.images += 1
    report.thorough += is_thorough
    report.losses[cut.loss] += 1
    if wrong := oracle.judge(files, thoroughly=is_thorough):
        report.findings.append(Finding(cut, wrong))


def _cuts(recorded: Recorded, seed: int, images: int) -> Iterator[tuple[Cut, int]]:
    """Draw cuts in the order of their positions: half anywhere, half the very moment after somebody was told."""
    random = Random(seed)
    told = sorted({position for position, _ in recorded.ledger.promises})
    positions = sorted(
        random.choice(told) if random.random() < 0.5 else random.randint(0, recorded.recording.position)
        for _ in range(images * TRIES_PER_IMAGE)
    )
    stride = random.randrange(len(LOSSES))
    for number, position in enumerate(positions, stride):
        yield Cut(seed, position, number), position


def _recorded(folder: Path, seed: int, synchronous: str) -> Recorded:
    (folder / "recorded").mkdir()
    return record(folder / "recorded", seed, synchronous=synchronous)


def _memory() -> "tempfile.TemporaryDirectory[str]":
    """Make a directory in memory where the machine has one: nothing here needs a disk."""
    shared = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="hookline-powercut-", dir=shared if shared.is_dir() else None)
