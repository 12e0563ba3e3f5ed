"""One server for the tests of a file, on each database that there is an engine for; others of their own on demand."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postgres_server import running_server

from .harness import Client, Server
from .receiver import Receiver

DATABASES = ["sqlite", "postgres"]
"""What the claims are shown on."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Run a PostgreSQL; give a function that makes a fresh database in it and returns its address."""
    with running_server() as server:
        yield lambda: asyncio.run(server.new_database())


@pytest.fixture(scope="module", params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """Name the kind of database that a claim is shown on."""
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def new_database(
    database: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], tuple[Path, str]]:
    """Give a function that makes a directory for a server and the address of an empty database."""
    make_postgres = request.getfixturevalue("postgres") if database == "postgres" else None

    def make() -> tuple[Path, str]:
        directory = tmp_path_factory.mktemp("server")
        return directory, make_postgres() if make_postgres else f"sqlite:///{directory}/hookline.db"

    return make


@pytest.fixture(scope="module")
def server(new_database: Callable[[], tuple[Path, str]]) -> Iterator[Server]:
    """Run a server that many tests share: each makes companies of its own."""
    server = Server(*new_database()).start()
    yield server
    server.close()


@pytest.fixture
def own_server(new_database: Callable[[], tuple[Path, str]]) -> Iterator[Callable[..., Server]]:
    """Give a function that makes a server, with settings of its own, to end, kill and restart."""
    servers: list[Server] = []

    def make(**environment: str) -> Server:
        servers.append(Server(*new_database(), environment).start())
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver().start()
    yield receiver
    receiver.close()


@pytest.fixture
def operator(server: Server) -> Iterator[Client]:
    """Give the operator's client of the shared server."""
    client = server.client()
    yield client
    client.close()
