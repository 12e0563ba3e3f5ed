"""One server and one world for each file of tests."""

from collections.abc import Iterator

import pytest

from api.loopback import Server
from api.world import World


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("api"))
    yield server
    server.close()


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the server as it was found."""
    yield
    if "server" in request.fixturenames:
        server: Server = request.getfixturevalue("server")
        server.faults.failing = None
        server.is_draining = False


@pytest.fixture(scope="module")
def world(server: Server) -> World:
    return World.build(server.call)


@pytest.fixture
def woken(server: Server) -> Iterator[list[None]]:
    """Hold one entry for each hint that the engine was given."""
    hints: list[None] = []
    before = server.api.wake
    object.__setattr__(server.api, "wake", lambda: hints.append(None))
    yield hints
    object.__setattr__(server.api, "wake", before)
