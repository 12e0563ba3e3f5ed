"""Who may import whom, and who may touch the world: read off the source, held against docs/architecture.md."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = ROOT / "src" / "hookline"

# --- what the source says --------------------------------------------------------------------------------------------


class Module(NamedTuple):
    """A module by its name inside the package, `storage.sqlite.log`, and its tree."""

    name: str
    tree: ast.Module


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def _imported(tree: ast.Module) -> Iterator[str]:
    """Name everything imported anywhere, in functions too, as a path that ends in a module or in a name inside one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _called(tree: ast.Module) -> Iterator[str]:
    """Name every function that is called, as it is written: `loop.time`."""
    return (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))


MODULES: Final = [Module(_name(path), ast.parse(path.read_text("utf-8"))) for path in sorted(PACKAGE.rglob("*.py"))]
NAMES: Final = frozenset(module.name for module in MODULES)


def _ours(tree: ast.Module) -> set[str]:
    """Return the modules of ours that are imported; the package itself, which holds the version, is open to all."""
    inside = {name.removeprefix("hookline.") for name in _imported(tree) if name.startswith("hookline.")}
    return {name if name in NAMES else name.rpartition(".")[0] for name in inside} - {""}


def _is_in(name: str, *entries: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in entries)


# --- the direction of imports ----------------------------------------------------------------------------------------


def _ranks(page: str) -> dict[str, int]:
    """Rank what the page's table names, from the inside to the outside; `egress/*` becomes `egress`."""
    table = page.partition("## Layout")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    names = [name.removesuffix("/*").replace("/", ".") for cell in cells for name in re.findall(r"`(.+?)`", cell)]
    assert len(names) == len(set(names)), "the table names something twice"
    return {name: rank for rank, name in enumerate(names)}


RANKS: Final = _ranks((ROOT / "docs" / "architecture.md").read_text("utf-8"))


def _entry(name: str) -> str | None:
    """Return what the table calls a module: itself, or the package that it is in."""
    if name == "__main__":
        return "cli"
    while name and name not in RANKS:
        name = name.rpartition(".")[0]
    return name or None


def _wrong_imports(module: Module) -> set[str]:
    """Return what the module imports against the direction."""
    entry = _entry(module.name)
    if entry is None:
        return _ours(module.tree)
    return {name for name in _ours(module.tree) if _entry(name) != entry and _rank(name) >= RANKS[entry]}


def _rank(name: str) -> int:
    entry = _entry(name)
    return len(RANKS) if entry is None else RANKS[entry]


STRANGERS: Final = (
    ("api", "engine"),
    ("api", "dashboard"),
    ("dashboard", "engine"),
    ("storage.sqlite", "storage.postgres"),
    ("engine", "publishing"),
)
"""They meet in the database, whatever the order of the table."""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or "hookline")
def test_imports_go_inward(module: Module) -> None:
    assert not _wrong_imports(module), f"{module.name} imports from further out, or is not in docs/architecture.md"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name or "hookline")
def test_strangers_do_not_know_each_other(module: Module) -> None:
    for one, other in STRANGERS:
        for here, there in ((one, other), (other, one)):
            if _is_in(module.name, here):
                assert not [name for name in _ours(module.tree) if _is_in(name, there)]


def test_the_table_names_only_what_exists() -> None:
    assert {entry for entry in RANKS if not [name for name in NAMES if _is_in(name, entry)]} <= {"storage.postgres"}
    assert len(RANKS) > 20


# --- who may touch the world -----------------------------------------------------------------------------------------


class Ban(NamedTuple):
    """What only some modules may do; each of them is there for the reason given."""

    what: str
    imports: tuple[str, ...]
    calls: str
    """A pattern over what is called, as written; empty for none."""
    allowed: Mapping[str, str]


READS_TIME: Final = (
    r"(.*\.)?(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|process_time|clock_gettime(_ns)?)"
    r"|(.*\.)?(datetime|date)\.(now|utcnow|today)"
)
DIALS: Final = (
    r"(.*\.)?(create_connection|create_unix_connection|open_connection|open_unix_connection|create_datagram_endpoint"
    r"|sock_connect|getaddrinfo|gethostbyname\w*|getnameinfo|urlopen|HTTPS?Connection)"
)

BANS: Final = (
    Ban(
        "reads the time",
        ("time",),
        READS_TIME,
        {
            "clock": "this is what it is for",
            "egress.resolver": "sets timers of the event loop, which run on the loop's own clock",
            "egress.sender": "sets one deadline for such timers",
        },
    ),
    Ban(
        "opens connections outward",
        ("socket", "http.client", "urllib.request", "httpx", "requests", "aiohttp", "pycares", "aiodns", "smtplib"),
        DIALS,
        {
            "egress": "this is what it is for",
            "serving": "listens",
            "cli.client": "calls our own API",
            "cli.forwarding": "hands what arrived on to a program of the user's own",
            "cli.first_steps": "tries whether a port is free to listen on",
        },
    ),
    Ban("speaks TLS", ("ssl",), "", {"egress": "to receivers"}),
    Ban(
        "knows a database driver", ("apsw", "asyncpg", "sqlite3", "psycopg"), "", {"storage": "this is what it is for"}
    ),
    Ban(
        "knows the web framework",
        ("starlette",),
        "",
        {"api": "this is what it is for", "dashboard": "this is what it is for"},
    ),
    Ban("knows the web server", ("uvicorn",), "", {"serving": "runs it", "api.connection": "bounds what it reads"}),
    Ban(
        "seals or opens",
        ("cryptography",),
        "",
        {"sealing": "this is what it is for", "certificates": "reads certificates, and keys only to compare them"},
    ),
    Ban("counts metrics", ("prometheus_client",), "", {"counting": "counts", "telemetry": "says what is counted"}),
    Ban("prints", (), "print|sys.stdout.write", {"cli": "this is what it is for"}),
)


def _broken(module: Module, ban: Ban) -> list[str]:
    """Return what the module does of what is banned, whether or not it may."""
    imports = [name for name in _imported(module.tree) if _is_in(name, *ban.imports)]
    return imports + [call for call in _called(module.tree) if ban.calls and re.fullmatch(ban.calls, call)]


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: ban.what)
def test_only_those_touch_the_world_that_are_there_for_it(ban: Ban) -> None:
    offenders = {module.name: _broken(module, ban) for module in MODULES if not _is_in(module.name, *ban.allowed)}
    assert not {name: found for name, found in offenders.items() if found}


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: ban.what)
def test_every_exception_is_used(ban: Ban) -> None:
    for allowed in ban.allowed:
        inside = [module for module in MODULES if _is_in(module.name, allowed)]
        assert not inside or any(_broken(module, ban) for module in inside), f"{allowed} no longer {ban.what}"


# --- these checks can fail -------------------------------------------------------------------------------------------


def _planted(name: str, source: str) -> Module:
    return Module(name, ast.parse(source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("model", "from hookline.clock import Clock"),
        ("model", "def f():\n    from hookline import config"),
        ("retry", "import hookline.storage.protocol"),
        ("rendering", "from hookline.storage.claims import Claimed"),
        ("egress.sender", "from hookline.engine import Engine"),
        ("storage.protocol", "from hookline.storage.sqlite import SqliteStorage"),
        ("engine", "from hookline.wiring import serve"),
        ("publishing", "from hookline.cli.main import main"),
        ("storage", "from hookline import model"),
        ("newcomer", "from hookline import model"),
    ],
)
def test_a_planted_import_is_found(name: str, source: str) -> None:
    assert _wrong_imports(_planted(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("clock", "from hookline.model import Event\nimport time"),
        ("egress.sender", "from hookline.egress.url import parse\nfrom hookline import __version__, errors"),
        ("cli.serve", "from hookline import wiring"),
        ("__main__", "from hookline.cli.main import main"),
    ],
)
def test_an_import_that_is_right_is_not(name: str, source: str) -> None:
    assert not _wrong_imports(_planted(name, source))


PLANTED: Final = {
    "reads the time": [
        "import time",
        "from time import monotonic as clock",
        "loop.time()",
        "asyncio.get_running_loop().time()",
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "date.today()",
    ],
    "opens connections outward": [
        "import socket",
        "from socket import create_connection",
        "import http.client",
        "from urllib.request import urlopen",
        "await_(loop.create_connection(factory, host, port))",
        "asyncio.open_connection(host, port)",
        "import pycares",
    ],
    "speaks TLS": ["from ssl import create_default_context"],
    "knows a database driver": ["import apsw", "def f():\n    import asyncpg", "from apsw import ext"],
    "knows the web framework": ["from starlette.requests import Request"],
    "knows the web server": ["import uvicorn.config"],
    "seals or opens": ["from cryptography.hazmat.primitives.ciphers.aead import AESGCM"],
    "counts metrics": ["import prometheus_client"],
    "prints": ["print(1)"],
}


@pytest.mark.parametrize("ban", BANS, ids=lambda ban: ban.what)
def test_a_planted_breach_is_found(ban: Ban) -> None:
    for source in PLANTED[ban.what]:
        assert _broken(_planted("matching", source), ban), source


@pytest.mark.parametrize(
    "source",
    [
        "import timeit",
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)",
        "lines.now()",
        "self._clock.monotonic_seconds()",
        "import asyncio\nasyncio.timeout(1)",
        "from urllib.parse import urlsplit",
        "pprint(1)",
        "transaction.time",
    ],
)
def test_what_only_looks_like_a_breach_is_none(source: str) -> None:
    assert not [ban.what for ban in BANS if _broken(_planted("matching", source), ban)]
