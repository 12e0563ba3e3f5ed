"""The dashboard beside the API, on a real server; one world for each file of tests."""

from collections.abc import Iterator

import pytest

from api.conftest import postgres_url, storage_in
from api.loopback import Server
from api.world import World
from dashboard.browsing import Browser, app_of

__all__ = ["postgres_url", "storage_in"]
"""For the files that are shown on each database in turn."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("dashboard"), app_of=app_of)
    yield server
    server.close()


@pytest.fixture(scope="module")
def world(server: Server) -> World:
    return World.build(server.call)


@pytest.fixture
def operator(server: Server, world: World) -> Browser:
    return Browser(server).signed_in(world.tokens["operator"])


@pytest.fixture
def member(server: Server, world: World) -> Browser:
    return Browser(server).signed_in(world.tokens["member"])


@pytest.fixture
def viewer(server: Server, world: World) -> Browser:
    return Browser(server).signed_in(world.tokens["viewer"])


@pytest.fixture
def stranger(server: Server, world: World) -> Browser:
    return Browser(server).signed_in(world.other_member)
