"""One server and one world for each file of tests."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from api.loopback import Server, StorageIn, sqlite_in
from api.world import World
from hookline.storage.postgres import PostgresStorage
from postgres_server import running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("api"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[Callable[[], str]]:
    """Run a PostgreSQL; give a function that makes an empty database in it and returns its address."""
    with running_server() as postgres:
        yield lambda: asyncio.run(postgres.new_database())


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def storage_in(request: pytest.FixtureRequest) -> StorageIn:
    """Make the storage of a server, on each database in turn."""
    if request.param == "sqlite":
        return sqlite_in
    new_url: Callable[[], str] = request.getfixturevalue("postgres_url")
    return lambda _, clock: PostgresStorage(new_url(), clock=clock)


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
