"""Each engine in turn, empty and open, on a clock that stands still until a test moves it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from storage_samples import HandClock, OpenStorage

from hookline.storage.postgres import PostgresStorage
from hookline.storage.postgres.schema import migrate
from hookline.storage.protocol import Storage
from hookline.storage.sqlite import SqliteStorage
from postgres_server import Server, running_server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def owner_url(postgres_server: Server) -> str:
    """An empty database, for the user who owns its tables."""
    return await postgres_server.prepared(migrate)


@pytest.fixture
async def postgres_url(postgres_server: Server, owner_url: str) -> str:
    """The same, for the server's administrator, to whom no policy applies."""
    return postgres_server.as_administrator(owner_url)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def open_storage(
    engine: str, tmp_path: Path, clock: HandClock, request: pytest.FixtureRequest
) -> AsyncIterator[OpenStorage]:
    """Opens the test's database; more than once where the engine allows it, or after it was closed."""
    async with AsyncExitStack() as stack:
        if engine == "postgres":
            server: Server = request.getfixturevalue("postgres_server")
            url = await server.prepared(migrate)

        async def open_one() -> Storage:
            storage: Storage
            if engine == "sqlite":
                storage = SqliteStorage(str(tmp_path / "hookline.db"), clock=clock)
            else:
                storage = PostgresStorage(url, clock=clock)
            await storage.open()
            stack.push_async_callback(storage.close)
            return storage

        yield open_one


@pytest.fixture
async def storage(open_storage: OpenStorage) -> Storage:
    return await open_storage()
