"""A process lives within its descriptors: attempts in flight, their idle connections and the API together."""

import resource
from pathlib import Path

import pytest
from msgspec import structs

from hookline import config, machine


def _within(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, max_in_flight: int = 1_000) -> tuple[int, int]:
    """Return the soft limit and the attempts in flight that come of a limit."""
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
    settings = structs.replace(config.from_environment({"HOOKLINE_MODE": "development"}), max_in_flight=max_in_flight)
    return machine.within_descriptors(settings).max_in_flight, limits[-1][0]


@pytest.mark.parametrize("hard", [524_288, resource.RLIM_INFINITY])
def test_the_limit_is_raised_to_what_is_needed(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    assert _within(monkeypatch, 1_024, hard) == (1_000, 3_280)


def test_a_limit_that_is_enough_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _within(monkeypatch, 65_536, 65_536) == (1_000, 65_536)


@pytest.mark.parametrize(("hard", "in_flight"), [(3_279, 999), (1_024, 256), (16, 4), (3, 1)])
def test_where_the_limit_cannot_be_raised_fewer_attempts_are_in_flight(
    monkeypatch: pytest.MonkeyPatch, hard: int, in_flight: int
) -> None:
    assert _within(monkeypatch, 3, hard) == (in_flight, hard)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/data/hookline.db", "nfs4"), ("/database.db", "ext4"), ("/data/fast/hookline.db", "tmpfs")],
)
def test_file_system_is_that_of_the_innermost_mount(tmp_path: Path, path: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:5 / /data rw shared:1 - nfs4 server:/x rw\n"
        "3 2 0:6 / /data/fast rw - tmpfs tmpfs rw\n",
        encoding="utf-8",
    )
    assert machine.kind_of_file_system(path, str(mounts)) == kind


def test_file_system_that_nobody_tells_of_is_unknown(tmp_path: Path) -> None:
    assert machine.kind_of_file_system("/x", str(tmp_path / "none")) is None
