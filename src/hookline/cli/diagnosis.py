"""What is wrong with an installation and what to do about it, as findings. Changes nothing.

Each function judges one subject, from values that others have read.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct

from hookline import credentials, local_files, machine, wiring
from hookline.clock import Clock, rfc3339
from hookline.config import Settings, from_environment, misspelt
from hookline.egress import tls
from hookline.egress.addresses import Address, classify
from hookline.egress.faults import Fault
from hookline.egress.url import ALLOW_ADDRESSES, UrlRefused, UrlRules, judge_destination, parse, rules_of
from hookline.errors import StartRefused
from hookline.model import Subscription
from hookline.sealing import Keyring, Unsealable
from hookline.storage.inspection import Inspection

CLOCK_MS_OFF: Final = 1_000
"""Between this machine and the database: leases and due times are the database's, signatures carry ours."""
CLOCK_MS_WRONG: Final = 60_000
"""Receivers refuse timestamps that are five minutes off; at one the cause is found in time."""
FREE_BYTES_LOW: Final = 1 << 30
LATE_MS: Final = 60_000
"""An engine that works takes what is due within seconds."""
LOSSY: Final = {"tmpfs": "everything is gone after a restart", "ramfs": "everything is gone after a restart"}
SHARED: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"})


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    subject: str
    state: State
    text: str
    next_step: str | None = None


def ok(subject: str, text: str) -> Finding:
    """Find nothing wrong."""
    return Finding(subject, State.OK, text)


def warning(subject: str, text: str, next_step: str) -> Finding:
    """Find what works and should not stay so."""
    return Finding(subject, State.WARNING, text, next_step)


def error(subject: str, text: str, next_step: str | None = None) -> Finding:
    """Find what does not work, or is not safe."""
    return Finding(subject, State.ERROR, text, next_step)


# --- settings --------------------------------------------------------------------------------------------------------


def of_settings(environment: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """Read the settings as `serve` would, and what it would say; the key is another subject."""
    slips = [
        warning("settings", f"{name} is no setting and is ignored.", f"Is {meant} meant?")
        for name, meant in misspelt(environment)
    ]
    try:
        settings = from_environment(environment, needs_secret_key=False)
    except StartRefused as refusal:
        return None, [*slips, error("settings", str(refusal))]
    said = sum(1 for name in environment if name.startswith("HOOKLINE_"))
    variables = "1 variable" if said == 1 else f"{said} variables"
    mode = "development" if settings.is_development else "production"
    return settings, [*slips, ok("settings", f"{mode} mode, {variables} set, all readable.")]


# --- database --------------------------------------------------------------------------------------------------------


def of_database(settings: Settings, found: Inspection) -> Iterator[Finding]:
    """Judge engine, schema, damage and durability."""
    if found.schema == found.schema_wanted:
        yield ok("database", f"{found.server}, schema {found.schema}.")
    elif found.schema > found.schema_wanted:
        yield error(
            "database",
            f"{found.server} has schema {found.schema}; this program knows {found.schema_wanted}.",
            "It was used by a newer Hookline: install that, or restore a copy made before the upgrade.",
        )
    else:
        yield warning(
            "database",
            f"{found.server} has schema {found.schema}, this program's is {found.schema_wanted}.",
            "`hookline migrate` brings it there; so does `hookline serve` at its start.",
        )
    for damage in found.damage:
        yield error("database", f"damaged: {damage}", "Stop the server and restore the last good `hookline backup`.")
    if found.unreadable:
        yield error(
            "database",
            f"{_counted(len(found.unreadable))} with a damaged row: {_some(found.unreadable)}.",
            "Restore these rows from a backup, or delete them: what is accepted for them waits until then.",
        )
    yield from _of_durability(settings, found)
    if found.backlog is not None and found.backlog.oldest_due_ms > LATE_MS:
        yield warning(
            "backlog",
            f"{found.backlog.open:,} deliveries are open, the longest due has waited "
            f"{found.backlog.oldest_due_ms // 1000:,} s.",
            "Does a server with the role `engine` run on this database (HOOKLINE_ROLES)? `hookline top` shows it work.",
        )


def _of_durability(settings: Settings, found: Inspection) -> Iterator[Finding]:
    broken = [each for each in found.guarantees if not each.is_kept]
    for each in broken:
        yield error("durability", f"{each.name} is {each.found}.", f"It has to be {each.wanted}.")
    kind = machine.kind_of_file_system(local_files.database_of(settings)) if local_files.is_local(settings) else None
    if kind in LOSSY:
        yield error("durability", f"the file is on {kind}: {LOSSY[kind]}.", "Move it to a disk.")
    elif kind in SHARED:
        yield error("durability", f"the file is on {kind}, whose locks SQLite cannot rely on.", "Use a local disk.")
    elif not broken:
        kept = ", ".join(f"{each.name} {each.found}" for each in found.guarantees)
        yield ok("durability", f"{kept}{f', on {kind}' if kind else ''}.")
    if found.free_bytes is not None and found.free_bytes < FREE_BYTES_LOW:
        yield warning(
            "durability",
            f"{found.free_bytes // 2**20:,} MiB are free on the disk of the database.",
            "Make room: without any, publishes answer 503.",
        )


# --- key -------------------------------------------------------------------------------------------------------------


def of_key(settings: Settings, found: Inspection | None) -> Iterator[Finding]:
    """Judge whether the key is there, and opens what the database holds."""
    if not settings.secret_keys:
        settings = _with_own_key(settings)
    if not settings.secret_keys and settings.is_development:
        if found is not None and found.subscriptions:
            gone = f"{local_files.key_file(settings)} is gone, which sealed {_counted(len(found.subscriptions))}."
            yield error("key", gone, "Restore it: a new key opens nothing of theirs.")
        else:
            yield ok("key", "development makes one at its first start.")
        return
    if not settings.secret_keys:
        next_step = "Set it as the servers have it. For a new installation: openssl rand -base64 32"
        if local_files.key_file(settings).exists():
            next_step = f"{local_files.key_file(settings)} is development's: if that is meant, look with --dev."
        yield error("key", "HOOKLINE_SECRET_KEY is not set, and production needs it.", next_step)
        return
    if found is None or found.schema != found.schema_wanted:
        return
    keyring = Keyring(settings.secret_keys)
    closed = [each.id for each in found.subscriptions if not _opens(each, keyring)]
    if closed:
        yield error(
            "key",
            f"HOOKLINE_SECRET_KEY does not open the secrets of {_counted(len(closed))}: {_some(closed)}.",
            "Add the key that sealed them to the list, after a comma: their deliveries wait until then.",
        )
        return
    old = sum(1 for each in found.subscriptions if not credentials.is_current(each, keyring))
    if old:
        yield warning(
            "key",
            f"{_counted(old)} sealed with an earlier key.",
            "`hookline keys rotate` seals them with the first; drop no key before.",
        )
    else:
        yield ok("key", f"the first of {len(settings.secret_keys)} opens {_counted(len(found.subscriptions))}.")


def _some(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (" …" if len(ids) > 5 else "")


def _counted(subscriptions: int) -> str:
    return "1 subscription" if subscriptions == 1 else f"{subscriptions:,} subscriptions"


def _opens(subscription: Subscription, keyring: Keyring) -> bool:
    try:
        credentials.open_secrets(subscription, keyring)
        credentials.open_headers(subscription, keyring)
        credentials.open_auth(subscription, keyring)
        credentials.open_trust(subscription, keyring)
    except Unsealable:
        return False
    return True


def _with_own_key(settings: Settings) -> Settings:
    """Read development's key, where there is one; never make it."""
    if not (settings.is_development and local_files.key_file(settings).exists()):
        return settings
    return local_files.with_key(settings)


# --- clock -----------------------------------------------------------------------------------------------------------


def of_clock(found: Inspection | None, clock: Clock, *, is_synchronised: bool | None) -> Iterator[Finding]:
    """Judge this machine's clock by the kernel, the database and the newest event."""
    now = clock.wall_ms()
    is_fine = True
    if found is not None and found.wall_ms is not None and abs(found.wall_ms - now) > CLOCK_MS_OFF:
        is_fine = False
        off = f"this machine's clock is {abs(now - found.wall_ms) / 1000:.1f} s from the database's."
        judge = error if abs(now - found.wall_ms) > CLOCK_MS_WRONG else warning
        yield judge("clock", off, "Let both follow NTP (chrony, systemd-timesyncd): receivers check timestamps.")
    if found is not None and found.newest_at is not None and found.newest_at - now > CLOCK_MS_WRONG:
        is_fine = False
        yield error(
            "clock",
            f"it is {rfc3339(now)} here, and the newest event was accepted at {rfc3339(found.newest_at)}.",
            "Set the clock: receivers refuse what is signed minutes too early or too late.",
        )
    if is_synchronised is False:
        yield warning("clock", "the kernel says that nothing keeps its clock right.", "Start chrony or the like.")
    elif is_fine:
        yield ok("clock", f"{rfc3339(now)}{', kept right' if is_synchronised else ''}.")


# --- egress ----------------------------------------------------------------------------------------------------------


def of_egress(settings: Settings) -> Iterator[Finding]:
    """Judge what attempts may reach, and whom they trust."""
    is_fine = True
    if not tls.trusted_places():
        is_fine = False
        yield error("egress", "this machine trusts no authority: https fails.", "Install the package ca-certificates.")
    if settings.ca_file is not None:
        try:
            tls.client_context(settings.ca_file)
        except StartRefused as refusal:
            is_fine = False
            yield error("egress", str(refusal))
    if settings.allow_http and not settings.is_development:
        is_fine = False
        yield warning(
            "egress",
            "HOOKLINE_ALLOW_HTTP: events may travel where anybody on the way can read them.",
            "Leave it out once every receiver has https.",
        )
    for network in settings.egress_allow:
        if refusals := {each for each in map(classify, (network[0], network[-1])) if each is not None}:
            is_fine = False
            yield warning(
                "egress",
                f"{network} in HOOKLINE_EGRESS_ALLOW is {' and '.join(sorted(refusals))}: any company may call it.",
                "Keep it as narrow as the receivers in it, and beside it a network policy.",
            )
    if is_fine:
        what = (
            "http, https and loopback, for development" if settings.is_development else "https to public addresses only"
        )
        yield ok("egress", f"{what}{', through a proxy' if settings.egress_proxy else ''}.")


async def of_callback(settings: Settings, text: str) -> list[Finding]:
    """Judge one callback URL as a registration and an attempt would, short of calling it."""
    rules = rules_of(settings, port=settings.port)
    try:
        url = parse(text, rules)
    except UrlRefused as refusal:
        remedy = f"{refusal.setting} would allow it, for every company." if refusal.setting else None
        return [error("callback", f"refused: {refusal.message}", remedy)]
    if settings.egress_proxy is not None:
        return [ok("callback", "the URL is accepted; the proxy looks its name up.")]
    if url.address is not None:
        return [ok("callback", "the URL is accepted.")]
    answer = await wiring.addresses_of(settings, url.host)
    if isinstance(answer, Fault):
        return [error("callback", answer.detail, "Do the name servers of /etc/resolv.conf answer from here?")]
    return [_of_address(each, url.port, rules) for each in answer]


def _of_address(address: Address, port: int, rules: UrlRules) -> Finding:
    refusal = judge_destination(address, port, rules)
    if refusal is None:
        return ok("callback", f"it leads to {address}, which may be called.")
    return error(
        "callback",
        f"it leads to {address}, {refusal}: never called.",
        f"Give it a public address, or allow this one in {ALLOW_ADDRESSES}, for every company.",
    )
