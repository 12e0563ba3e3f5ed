"""The only file that constructs objects: settings in, a running process or an open database out."""

import asyncio
import logging
import platform
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import uvloop
from msgspec import Struct, structs

from hookline import __version__, circuit, credentials, local_files, logs, machine, resealing, serving
from hookline.accounts import Accounts
from hookline.announcing import Announcer
from hookline.api.app import create_app
from hookline.api.context import Api
from hookline.api.readiness import Readiness
from hookline.authentication import Authenticator
from hookline.clock import Clock, SystemClock
from hookline.config import Settings
from hookline.dashboard.app import App as DashboardApp
from hookline.dashboard.app import with_dashboard
from hookline.dashboard.assets import Assets
from hookline.dashboard.context import Dashboard
from hookline.dashboard.pages import Pages
from hookline.dashboard.sessions import Sessions
from hookline.dispatch import Targets
from hookline.egress.oauth import GrantingSender
from hookline.egress.resolver import Answer, DnsResolver
from hookline.egress.sender import Sender
from hookline.egress.tls import client_context
from hookline.egress.url import rules_of
from hookline.engine import Chore, Engine, Limits
from hookline.errors import StartRefused
from hookline.links import Links
from hookline.model import PayloadVersion, Role
from hookline.presence import Presence
from hookline.publishing import Publisher
from hookline.quotas import quotas_of
from hookline.resealing import Resealed
from hookline.retention import Retention
from hookline.sealing import Keyring, Unsealable
from hookline.storage.inspection import SUBSCRIPTIONS_MAX, Inspection
from hookline.storage.migrate import migrations
from hookline.storage.protocol import Storage
from hookline.storage.views import SubscriptionQuery
from hookline.tallying import Tallying
from hookline.telemetry import Telemetry
from hookline.tokens import new_token
from hookline.validating import Validator

log = logging.getLogger("hookline.wiring")


class Started(Struct, frozen=True, kw_only=True):
    """What a process says once it accepts requests."""

    url: str
    database: str
    """The file, or the address without its password."""
    operator_token: str | None
    """To show in development; None in production."""
    sign_in_link: str | None
    """The same: it opens the operator's dashboard once."""


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
    if local_files.is_local(settings):
        from hookline.storage.sqlite import schema  # noqa: PLC0415 - a process knows one engine

        await asyncio.to_thread(schema.migrate, local_files.database_of(settings), check=is_check)
        return len(migrations("sqlite"))
    from hookline.storage.postgres import schema as postgres_schema  # noqa: PLC0415

    await postgres_schema.migrate(settings.database_url, check=is_check)
    return len(migrations("postgres"))


async def reseal(settings: Settings, progress: Callable[[int], None]) -> Resealed:
    """Seal again, with the first key of `HOOKLINE_SECRET_KEY`, all that an earlier one sealed."""
    settings = local_files.with_key(settings)
    async with open_storage(settings) as storage:
        return await resealing.reseal(storage, Keyring(settings.secret_keys), progress)


def backup(settings: Settings, target: str, progress: Callable[[int, int], None]) -> int:
    """Copy an SQLite database to a new file, beside a server or without one; return how many bytes it has."""
    from hookline.storage.sqlite import copying  # noqa: PLC0415 - a process knows one engine

    return copying.backup(local_files.database_of(settings), target, progress)


async def inspect(settings: Settings) -> Inspection:
    """Look at the database without changing it, beside a server or without one. Raises `StartRefused`."""
    if local_files.is_local(settings):
        from hookline.storage.sqlite import inspecting  # noqa: PLC0415 - a process knows one engine

        return await asyncio.to_thread(inspecting.inspect, local_files.database_of(settings), SystemClock())
    from hookline.storage.postgres import inspecting as postgres_inspecting  # noqa: PLC0415

    found = await postgres_inspecting.inspect(settings.database_url)
    if found.schema != found.schema_wanted:
        return found
    async with open_storage(settings) as storage:
        return structs.replace(found, backlog=await storage.backlog(), **await _subscriptions(storage))


async def _subscriptions(storage: Storage) -> dict[str, Any]:
    query = SubscriptionQuery(company_id=None, versions=tuple(PayloadVersion), limit=SUBSCRIPTIONS_MAX)
    found = await storage.subscriptions(query)
    return {"subscriptions": found.items, "unreadable": found.unreadable}


async def addresses_of(settings: Settings, host: str) -> Answer:
    """Look a name up as an attempt would."""
    resolver = DnsResolver(hosts_file_names=_names_of_ours(settings))
    try:
        return await resolver.resolve(host)
    finally:
        resolver.close()


def distribution() -> Sequence[str]:
    """Return what a Citus coordinator must be told, statement by statement."""
    from hookline.storage.postgres import distributing  # noqa: PLC0415

    return distributing.statements()


async def distribute(settings: Settings) -> Sequence[str]:
    """Spread the tables over the nodes of a Citus cluster; return those that were not yet."""
    if local_files.is_local(settings):
        raise StartRefused(
            "Only PostgreSQL with Citus can be distributed: --database postgresql://… of its coordinator."
        )
    from hookline.storage.postgres import distributing  # noqa: PLC0415

    return await distributing.apply(settings.database_url)


def serve(settings: Settings, announce: Callable[[Started], None]) -> int:
    """Run the service until a signal ends it; return the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, announce))


# --- one process -----------------------------------------------------------------------------------------------------


async def _serve(settings: Settings, announce: Callable[[Started], None]) -> int:
    lines = logs.buffered(sys.stderr.fileno())
    logs.configure(lines, is_development=settings.is_development)
    settings = local_files.with_key(settings)
    settings = machine.within_descriptors(settings)
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
        await _check_key(storage, keyring)
        leaving = serving.Leaving()
        random_bytes = machine.Randomness()
        local_token = new_token(Role.OPERATOR, secrets.token_bytes)
        development_token = local_files.operator_token(settings)
        publisher = Publisher(
            storage=storage,
            clock=clock,
            random_bytes=random_bytes,
            event_source=settings.event_source,
            quotas=quotas_of(settings, storage, clock),
        )
        engine = None
        if "engine" in settings.roles:
            plain_sender = Sender(
                resolver=DnsResolver(hosts_file_names=_names_of_ours(settings)),
                rules=rules,
                clock=clock,
                trust=client_context(settings.ca_file),
                idle_connections_max=settings.max_in_flight,
                proxy=settings.egress_proxy,
                ca_file=settings.ca_file,
            )
            telemetry.watch_connections("egress", "idle", lambda: plain_sender.idle_connections)
            sender = GrantingSender(plain_sender, clock)
            stack.push_async_callback(sender.close)
            targets = Targets(
                keyring=keyring,
                rules=rules,
                retry_delays_seconds=settings.retry_delays_seconds,
                timeout_seconds_max=settings.timeout_seconds_max,
            )
            engine = _engine(
                settings,
                storage=storage,
                sender=sender,
                targets=targets,
                clock=clock,
                telemetry=telemetry,
                slow_chores=[
                    Validator(storage, sender, targets, _host(settings.public_url)).step,
                    Announcer(storage, publisher).step,
                ],
                chores=[
                    Retention(storage, clock, settings.retention_days).step,
                    Tallying(storage, clock).step,
                ],
            )
        authenticator = Authenticator(
            storage,
            clock,
            [token for token in (settings.operator_token, development_token, local_token) if token],
        )
        links = Links(storage=storage, clock=clock, random_bytes=random_bytes, public_url=settings.public_url)
        api = create_app(
            Api(
                storage=storage,
                publisher=publisher,
                accounts=Accounts(storage=storage, clock=clock, random_bytes=random_bytes),
                links=links,
                authenticator=authenticator,
                readiness=Readiness(storage, clock, lambda: leaving.is_draining),
                keyring=keyring,
                clock=clock,
                random_bytes=random_bytes,
                settings=settings,
                url_rules=rules,
                telemetry=telemetry,
                wake=_wake_of(engine, storage),
            )
        )
        assets = Assets()
        dashboard = Dashboard(
            storage=storage,
            authenticator=authenticator,
            sessions=Sessions(
                keyring,
                random_bytes,
                is_secure=settings.public_url.startswith("https://"),
                is_framed=bool(settings.portal_origins),
            ),
            links=links,
            assets=assets,
            pages=Pages(assets),
            clock=clock,
            random_bytes=random_bytes,
            settings=settings,
            telemetry=telemetry,
            api=api,
            is_draining=lambda: leaving.is_draining,
        )
        stack.enter_context(local_files.note(settings, url, local_token))
        presence = Presence(
            storage,
            clock,
            engine,
            node_id=secrets.token_hex(8),
            name=f"{platform.node()}:{port}",
            version=__version__,
            roles=sorted(settings.roles),
        )
        stack.push_async_callback(presence.leave)
        stack.callback(asyncio.create_task(presence.keep_beating()).cancel)
        is_shown = settings.is_development and "api" in settings.roles
        started = Started(
            url=url,
            database=_shown_database(settings),
            operator_token=(settings.operator_token or development_token) if settings.is_development else None,
            sign_in_link=await links.create_for_operator(url) if is_shown else None,
        )
        machine.tame_collector()
        return await serving.serve(
            with_dashboard(api, DashboardApp(dashboard)) if "api" in settings.roles else api,
            listener=listener,
            trusted_proxies=",".join(map(str, settings.trusted_proxies)) or None,
            engine=engine,
            leaving=leaving,
            drain_seconds=settings.drain_seconds,
            settling_seconds=settings.settling_seconds,
            announce=lambda: announce(started),
        )


def _wake_of(engine: Engine | None, storage: Storage) -> Callable[[], None]:
    """Return what wakes the engines of all nodes; let ours, if there is one, be woken by the others."""
    if engine is None:
        return storage.tell
    storage.listen(engine.wake)

    def wake() -> None:
        engine.wake()
        storage.tell()

    return wake


async def _check_key(storage: Storage, keyring: Keyring) -> None:
    """Refuse to start with a key that is another database's: no delivery could be signed, and in time all would die."""
    try:
        found = await storage.subscriptions(SubscriptionQuery(company_id=None, versions=tuple(PayloadVersion), limit=1))
        for subscription in found.items:
            credentials.open_secrets(subscription, keyring)
        if found.unreadable:
            log.error("subscription %d is damaged: whether the key fits was not checked", found.unreadable[0])
    except Unsealable as error:
        raise StartRefused(
            "HOOKLINE_SECRET_KEY does not open the secrets in this database. "
            "Start with the key that sealed them; a new one goes before it, with a comma between."
        ) from error


def _engine(
    settings: Settings,
    *,
    storage: Storage,
    sender: GrantingSender,
    clock: Clock,
    telemetry: Telemetry,
    targets: Targets,
    chores: Sequence[Chore],
    slow_chores: Sequence[Chore],
) -> Engine:
    return Engine(
        storage=storage,
        sender=sender,
        targets=targets,
        clock=clock,
        random=Random(),
        limits=Limits(
            max_in_flight=settings.max_in_flight,
            host_max_in_flight=settings.host_max_in_flight,
            lease_ms=settings.lease_seconds * 1000,
        ),
        telemetry=telemetry,
        chores=chores,
        slow_chores=slow_chores,
    )


def _names_of_ours(settings: Settings) -> Sequence[str]:
    """Name the hosts that may also stand in the hosts file."""
    return [*settings.egress_allow_hosts, *([settings.egress_proxy.host] if settings.egress_proxy else [])]


def _storage(settings: Settings, clock: Clock, telemetry: Telemetry | None) -> Storage:
    if local_files.is_local(settings):
        from hookline.storage.sqlite import SqliteStorage  # noqa: PLC0415 - a process knows one engine

        return SqliteStorage(
            local_files.database_of(settings), clock=clock, circuit_rules=_circuit_rules(settings), telemetry=telemetry
        )
    from hookline.storage.postgres import PostgresStorage  # noqa: PLC0415

    return PostgresStorage(
        settings.database_url,
        circuit_rules=_circuit_rules(settings),
        monotonic_seconds=clock.monotonic_seconds,
        telemetry=telemetry,
    )


def _circuit_rules(settings: Settings) -> circuit.Rules:
    days = settings.deactivate_after_days
    return circuit.Rules(is_on=settings.circuit, deactivate_after_ms=days * circuit.DAY_MS if days else None)


def _shown_database(settings: Settings) -> str:
    if local_files.is_local(settings):
        return str(Path(local_files.database_of(settings)).absolute())
    return settings.database_url.rpartition("@")[2]


# --- addresses -------------------------------------------------------------------------------------------------------


def _local_url(host: str, port: int) -> str:
    """Return the address under which this machine reaches us."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{port}"


def _host(url: str) -> str:
    """Return the host of an address that the settings have checked."""
    return urlsplit(url).hostname or ""


def _with_port(settings: Settings, port: int) -> Settings:
    """Put the port really taken where port 0 asked for a free one, also into addresses that were derived from it."""
    if settings.port != 0:
        return settings

    def known(address: str) -> str:
        return f"{address[:-1]}{port}" if address.endswith(":0") else address

    return structs.replace(
        settings, port=port, public_url=known(settings.public_url), event_source=known(settings.event_source)
    )
