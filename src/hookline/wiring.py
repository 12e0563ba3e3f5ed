"""The only file that constructs objects: settings in, a running process or an open database out."""

import asyncio
import base64
import gc
import json
import os
import resource
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from hashlib import sha256
from hmac import digest
from pathlib import Path
from random import Random
from typing import Final

import uvloop
from msgspec import Struct, structs

from hookline import logs, serving
from hookline.api.app import create_app
from hookline.api.auth import Authenticator
from hookline.api.context import Api
from hookline.api.readiness import Readiness
from hookline.clock import Clock, SystemClock
from hookline.config import SECRET_KEY_BYTES, Settings
from hookline.dispatch import Targets
from hookline.egress.resolver import DnsResolver
from hookline.egress.sender import Sender
from hookline.egress.tls import client_context
from hookline.egress.url import UrlRules, rules_of
from hookline.engine import Engine, Limits
from hookline.errors import StartRefused
from hookline.model import Role
from hookline.publishing import Publisher
from hookline.sealing import Keyring
from hookline.storage.migrate import migrations
from hookline.storage.protocol import Storage
from hookline.telemetry import Telemetry
from hookline.tokens import new_token

SQLITE: Final = "sqlite:///"
DESCRIPTORS_KEPT: Final = 512
"""For the API's connections, the database and the log: what attempts in flight may not use up."""


class Started(Struct, frozen=True, kw_only=True):
    """What a process says once it accepts requests."""

    url: str
    database: str
    """The file, or the address without its password."""
    operator_token: str | None
    """To show in development; None in production."""


# --- for the command line --------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage]:
    """Open the database itself, for a tool; SQLite refuses while a server runs on it."""
    storage = _storage(settings, SystemClock(), telemetry=None)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def migrate(settings: Settings) -> int:
    """Bring the database to this program's schema (or, with `HOOKLINE_MIGRATE=check`, only verify it); return it."""
    is_check = settings.migrate == "check"
    if settings.database_url.startswith(SQLITE):
        from hookline.storage.sqlite import schema  # noqa: PLC0415 - a process knows one engine

        await asyncio.to_thread(schema.migrate, _file_of(settings), check=is_check)
        return len(migrations("sqlite"))
    from hookline.storage.postgres import schema as postgres_schema  # noqa: PLC0415

    await postgres_schema.migrate(settings.database_url, check=is_check)
    return len(migrations("postgres"))


def serve(settings: Settings, announce: Callable[[Started], None]) -> int:
    """Run the service until a signal ends it; return the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, announce))


# --- one process -----------------------------------------------------------------------------------------------------


async def _serve(settings: Settings, announce: Callable[[Started], None]) -> int:
    lines = logs.buffered(sys.stderr.fileno())
    logs.configure(lines, is_development=settings.is_development)
    settings = _with_development_key(settings)
    settings = _within_descriptors(settings)
    clock = SystemClock()
    telemetry = Telemetry(clock=clock, is_development=settings.is_development, stream=lines)
    keyring = Keyring(settings.secret_keys)
    listener = serving.listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    settings = _with_port(settings, port)
    url = _local_url(settings.host, port)
    rules = rules_of(settings, port=port)
    await migrate(settings)
    async with AsyncExitStack() as stack:
        stack.callback(lines.flush)
        stack.callback(asyncio.create_task(logs.keep_flushing(lines)).cancel)
        storage = _storage(settings, clock, telemetry)
        await storage.open()
        stack.push_async_callback(storage.close)
        leaving = serving.Leaving()
        random_bytes = _Randomness()
        local_token = new_token(Role.OPERATOR, secrets.token_bytes)
        development_token = _development_token(settings)
        engine = None
        if "engine" in settings.roles:
            sender = Sender(
                resolver=DnsResolver(hosts_file_names=settings.egress_allow_hosts),
                rules=rules,
                clock=clock,
                trust=client_context(settings.ca_file),
            )
            stack.push_async_callback(sender.close)
            engine = _engine(
                settings,
                storage=storage,
                sender=sender,
                keyring=keyring,
                rules=rules,
                clock=clock,
                telemetry=telemetry,
            )
        app = create_app(
            Api(
                storage=storage,
                publisher=Publisher(
                    storage=storage,
                    clock=clock,
                    random_bytes=random_bytes,
                    event_source=settings.event_source,
                ),
                authenticator=Authenticator(
                    storage,
                    clock,
                    [token for token in (settings.operator_token, development_token, local_token) if token],
                ),
                readiness=Readiness(storage, clock, lambda: leaving.is_draining),
                keyring=keyring,
                clock=clock,
                random_bytes=random_bytes,
                settings=settings,
                url_rules=rules,
                telemetry=telemetry,
                wake=engine.wake if engine else lambda: None,
            )
        )
        stack.enter_context(_local_note(settings, url, local_token))
        started = Started(
            url=url,
            database=_shown_database(settings),
            operator_token=(settings.operator_token or development_token) if settings.is_development else None,
        )
        _tame_collector()
        return await serving.serve(
            app,
            listener=listener,
            trusted_proxies=",".join(map(str, settings.trusted_proxies)) or None,
            engine=engine,
            leaving=leaving,
            drain_seconds=settings.drain_seconds,
            announce=lambda: announce(started),
        )


def _engine(
    settings: Settings,
    *,
    storage: Storage,
    sender: Sender,
    keyring: Keyring,
    rules: UrlRules,
    clock: Clock,
    telemetry: Telemetry,
) -> Engine:
    return Engine(
        storage=storage,
        sender=sender,
        targets=Targets(
            keyring=keyring,
            rules=rules,
            retry_delays_seconds=settings.retry_delays_seconds,
            timeout_seconds_max=settings.timeout_seconds_max,
        ),
        clock=clock,
        random=Random(),
        limits=Limits(
            max_in_flight=settings.max_in_flight,
            host_max_in_flight=settings.host_max_in_flight,
            lease_ms=settings.lease_seconds * 1000,
        ),
        telemetry=telemetry,
    )


def _storage(settings: Settings, clock: Clock, telemetry: Telemetry | None) -> Storage:
    if settings.database_url.startswith(SQLITE):
        from hookline.storage.sqlite import SqliteStorage  # noqa: PLC0415 - a process knows one engine

        return SqliteStorage(_file_of(settings), clock=clock, telemetry=telemetry)
    from hookline.storage.postgres import PostgresStorage  # noqa: PLC0415

    return PostgresStorage(settings.database_url)


def _file_of(settings: Settings) -> str:
    return settings.database_url.removeprefix(SQLITE)


def _shown_database(settings: Settings) -> str:
    if settings.database_url.startswith(SQLITE):
        return str(Path(_file_of(settings)).absolute())
    return settings.database_url.rpartition("@")[2]


# --- what development makes by itself --------------------------------------------------------------------------------


def _with_development_key(settings: Settings) -> Settings:
    """In development, read the key beside the database, or make it: what was sealed stays readable after a restart."""
    if settings.secret_keys or not settings.is_development:
        return settings
    path = Path(f"{_file_of(settings)}.key" if settings.database_url.startswith(SQLITE) else "hookline.key")
    if not path.exists():
        _write_private(path, base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode() + "\n")
    try:
        key = base64.b64decode(path.read_text(encoding="ascii").strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != SECRET_KEY_BYTES:
        raise StartRefused(
            f"{path} does not hold a key of {SECRET_KEY_BYTES} bytes in base64. Restore it: without it the secrets in "
            "the database cannot be read. If there is nothing to keep, remove it together with the database."
        )
    return structs.replace(settings, secret_keys=(key,))


def _development_token(settings: Settings) -> str | None:
    """Derive the operator token that development prints at each start: the same while the key stays."""
    if not settings.is_development or settings.operator_token:
        return None
    return new_token(Role.OPERATOR, lambda size: digest(settings.secret_keys[0], b"operator token", sha256)[:size])


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; raise `StartRefused` where that cannot be done."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise StartRefused(
            f"Cannot write {path}: {error.strerror}. "
            "The directory of the database must exist and be writable; HOOKLINE_DATABASE_URL names it."
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)


@contextmanager
def _local_note(settings: Settings, url: str, token: str) -> Iterator[None]:
    """Leave a note beside the SQLite file while the server runs, so that commands find it and may talk to it."""
    if not settings.database_url.startswith(SQLITE):
        yield
        return
    path = Path(f"{_file_of(settings)}.local")
    _write_private(path, json.dumps({"url": url, "token": token}) + "\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


class _Randomness:
    """The kernel's random bytes, fetched thousands at a time: a call costs 5 µs, and an event's id takes ten bytes."""

    FETCHED = 4_096

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0

    def __call__(self, size: int) -> bytes:
        if self._used + size > len(self._bytes):
            self._bytes, self._used = secrets.token_bytes(max(self.FETCHED, size)), 0
        taken = self._bytes[self._used : self._used + size]
        self._used += size
        return taken


# --- what the machine allows -----------------------------------------------------------------------------------------


def _within_descriptors(settings: Settings) -> Settings:
    """Raise the descriptor limit to what attempts in flight need, or lower them to what it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_in_flight + DESCRIPTORS_KEPT
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= wanted:
        return settings
    return structs.replace(settings, max_in_flight=max(1, soft - DESCRIPTORS_KEPT))


def _tame_collector() -> None:
    """Let the cyclic collector skip what lives as long as the process, and look less often at the rest.

    Values on the hot path form no cycles; at the default threshold the collector took 4 % of a busy process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


# --- addresses -------------------------------------------------------------------------------------------------------


def _local_url(host: str, port: int) -> str:
    """Return the address under which this machine reaches us."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


def _with_port(settings: Settings, port: int) -> Settings:
    """Put the port really taken where port 0 asked for a free one, also into addresses that were derived from it."""
    if settings.port != 0:
        return settings

    def known(address: str) -> str:
        return f"{address[:-1]}{port}" if address.endswith(":0") else address

    return structs.replace(
        settings, port=port, public_url=known(settings.public_url), event_source=known(settings.event_source)
    )
