"""No power cut takes what was acknowledged, and this would be seen if one did."""

from itertools import count
from random import Random

from powercut.cutting import Cut, again, cut_runs
from powercut.disk import LOSSES, Disk, Loss
from powercut.recording import Create, Remove, Sync, Truncate, Write

IMAGES = 20_000


def test_no_power_cut_loses_or_halves_what_was_acknowledged() -> None:
    report = cut_runs(count(1), IMAGES)
    assert not report.findings, "\n".join(map(str, report.findings))
    assert report.images == IMAGES
    assert set(report.losses) == set(LOSSES)
    assert set(report.struck) == {"database", "log", "journal", "directory"}, "each was struck while something was open"


def test_without_a_sync_at_each_commit_the_loss_is_seen() -> None:
    report = cut_runs(count(1), 300, synchronous="NORMAL")
    assert any("I1: acknowledged event" in line for finding in report.findings for line in finding.wrong)


def test_a_finding_can_be_judged_again() -> None:
    cut = Cut.read("1:700:3")
    assert str(cut) == "1:700:3"
    assert again(cut).wrong == []


# --- the disk --------------------------------------------------------------------------------------------------------

A, B = b"a" * 1024, b"b" * 1024


def found(disk: Disk, loss: Loss) -> set[tuple[tuple[str, bytes], ...]]:
    return {tuple(sorted(disk.after_cut(Random(seed), loss).items())) for seed in range(200)}


def a_disk() -> Disk:
    """A disk with one synced file of two sectors."""
    disk = Disk()
    for operation in (Create("-wal"), Write("-wal", 0, A), Sync("-wal", with_directory=True)):
        disk.take(operation)
    return disk


def test_what_was_synced_is_there_after_every_cut() -> None:
    disk = a_disk()
    assert [found(disk, loss) for loss in LOSSES] == [{(("-wal", A),)}] * len(LOSSES)


def test_what_was_not_synced_may_be_gone_whole_or_torn_at_a_sector_and_never_inside_one() -> None:
    disk = a_disk()
    disk.take(Write("-wal", 0, B))
    contents = {dict(files)["-wal"] for loss in LOSSES for files in found(disk, loss)}
    assert contents == {A, B, A[:512] + B[512:], B[:512] + A[512:]}


def test_writes_may_reach_the_disk_in_another_order() -> None:
    disk = a_disk()
    disk.take(Write("-wal", 0, b"1"))
    disk.take(Write("-wal", 0, b"2"))
    firsts = {dict(files)["-wal"][:1] for files in found(disk, Loss.REORDERED)}
    assert firsts == {b"a", b"1", b"2"}
    assert {dict(files)["-wal"][:1] for files in found(disk, Loss.PREFIX)} == {b"a", b"1", b"2"}


def test_a_file_may_have_its_new_size_and_none_of_its_bytes() -> None:
    disk = a_disk()
    disk.take(Write("-wal", 2048, B))
    assert found(disk, Loss.ONLY_GROWN) == {(("-wal", A + bytes(2048)),)}
    disk.take(Truncate("-wal", 10))
    assert found(disk, Loss.ALL_KEPT) == {(("-wal", A[:10]),)}


def test_a_name_is_only_there_or_gone_for_good_once_its_directory_is_synced() -> None:
    disk = a_disk()
    disk.take(Create(""))
    disk.take(Write("", 0, A))
    disk.take(Sync("", with_directory=False))
    assert found(disk, Loss.SUBSET) == {(("-wal", A),), (("", A), ("-wal", A))}
    disk.take(Remove("-wal", is_synced=False))
    assert (("", A), ("-wal", A)) in found(disk, Loss.SUBSET), "removed, and back"
    disk.take(Create("-journal"))
    disk.take(Remove("-journal", is_synced=True))
    assert found(disk, Loss.NOTHING_LEFT) == {(("", A),)}
