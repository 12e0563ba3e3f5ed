"""A stage for each test; one PostgreSQL for all of them, which each leaves running."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.receiver import Receiver
from postgres_server import Cluster, own_cluster

from .stage import ENGINES, Stage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave what takes long to those who ask for it."""
    if not os.environ.get("CHAOS_THOROUGH"):
        for item in items:
            if item.get_closest_marker("thorough"):
                item.add_marker(pytest.mark.skip(reason="`make chaos` runs it"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run a PostgreSQL that may be crashed."""
    with own_cluster() as cluster:
        yield cluster


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Give a stage."""
    with Stage(tmp_path, lambda: request.getfixturevalue("cluster")) as stage:
        yield stage


@pytest.fixture
def receiver(stage: Stage) -> Receiver:
    """Run a receiver."""
    return stage.receiver()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Name the kind of database that a claim is shown on."""
    name: str = request.param
    return name
