"""The disk of the database is full: publishes are refused in words, and all goes on when there is room again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.harness import until
from e2e.receiver import Receiver

from .books import balanced
from .load import World
from .stage import Stage

SIZE_MIB = 24
MIB = b"\0" * (1 << 20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system in memory that is soon full."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs to mount a tmpfs, which this user may not: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_refuses_publishes_and_loses_nothing(stage: Stage, receiver: Receiver, small_disk: Path) -> None:
    node = stage.node(f"sqlite:///{small_disk}/hookline.db").start()
    operator = stage.client(node)
    world = World.made(operator, receiver)
    ballast = small_disk / "ballast"
    with world.load([node]):
        for is_killed in (False, True):
            fill(ballast)
            refused = sum(publisher.refused for publisher in world.publishers)
            until(lambda: sum(each.refused for each in world.publishers) > refused + 10, "publishes are refused")  # noqa: B023
            until(lambda: operator.call("GET", "/readyz").status == 503, "not ready")
            with world.fault():
                if is_killed:
                    node.kill()
                ballast.unlink()
                if is_killed:
                    node.start()
            acknowledged = len(world.acknowledged)
            until(lambda: operator.call("GET", "/readyz").status == 200, "ready again", 5)
            until(lambda: len(world.acknowledged) > acknowledged + 10, "publishes are accepted", 5)  # noqa: B023
    balanced(operator, world)


def fill(ballast: Path) -> None:
    """Leave no room."""
    with ballast.open("wb", buffering=0) as file:
        for chunk in (MIB, MIB[:4096]):
            try:
                while file.write(chunk) == len(chunk):
                    pass
            except OSError:
                continue
