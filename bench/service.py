"""What every bench needs: the real server as a process, its figures from the kernel, and calls to its API."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, NamedTuple

TOKEN: Final = "an-operator-token-for-measuring-only"
READY: Final = "hookline ready on "
HERE: Final = Path(__file__).parent
POSTGRES: Final = "postgres"
"""In place of an address: a server run from the wheel, as the tests do, on a disk and with durable commits."""
TICKS: Final = os.sysconf("SC_CLK_TCK")
START_SECONDS: Final = 30


class Usage(NamedTuple):
    """What a process has used so far."""

    cpu_seconds: float
    rss_bytes: int
    rss_bytes_max: int
    database_cpu_seconds: float
    """Of all processes of a PostgreSQL server that the bench runs; else 0."""


class Service:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, database_pid: int | None = None) -> None:
        self.url = url
        self.process = process
        self._database_pid = database_pid
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=START_SECONDS)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request as operator; return its JSON, or fail."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {answer.decode()}")
        return json.loads(answer) if answer else None

    def subscribe(self, company_id: int, url: str, **policies: Any) -> int:
        """Register a subscription; return its id."""
        made = self.call("POST", f"/v1/webhooks?companyId={company_id}", {"callbackUrl": url, **policies})
        subscription_id: int = made["id"]
        return subscription_id

    def usage(self) -> Usage:
        """Read CPU time and memory from the kernel; the database's CPU time where it is a process of ours."""
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return Usage(
            _cpu_seconds(_stat(self.process.pid)),
            int(status["VmRSS"].split()[0]) * 1024,
            int(status["VmHWM"].split()[0]) * 1024,
            _family_cpu_seconds(self._database_pid) if self._database_pid else 0.0,
        )

    def close(self) -> None:
        """End the server."""
        self._connection.close()
        self.process.terminate()
        self.process.wait(START_SECONDS)


@contextmanager
def running(database: str | None, profile: str | None = None, **environment: str) -> Iterator[Service]:
    """Run a server on the database, on a fresh PostgreSQL, or on a fresh SQLite file; the fresh ones go with it."""
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as directory, ExitStack() as stack:
        database_pid = None
        if database == POSTGRES:
            database, database_pid = _postgres(stack)
        program = ["-m", "hookline"] if profile is None else [str(HERE / "profiled.py"), profile]
        process = subprocess.Popen(
            [
                sys.executable,
                *program,
                *("serve", "--dev", "--port", "0", "--database", database or f"sqlite:///{directory}/bench.db"),
            ],
            cwd=directory,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")},
                "HOOKLINE_OPERATOR_TOKEN": TOKEN,
                "HOOKLINE_DRAIN_SECONDS": "0",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=(Path(directory) / "log").open("wb"),
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit(f"the server did not start: {line}{(Path(directory) / 'log').read_text()}")
        service = Service(process, line.removeprefix(READY).strip(), database_pid)
        try:
            yield service
        finally:
            service.close()


def _postgres(stack: ExitStack) -> tuple[str, int]:
    """Run a server for as long as the stack; return its address and its process."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from postgres_server import own_cluster  # noqa: PLC0415 - of the tests, and only here

    cluster = stack.enter_context(own_cluster())
    return cluster.server.url, cluster.pid


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_seconds(stat: list[str]) -> float:
    return (int(stat[11]) + int(stat[12])) / TICKS


def _family_cpu_seconds(pid: int) -> float:
    """Sum a process, its children, and those of them that have ended."""
    stat = _stat(pid)
    total = _cpu_seconds(stat) + (int(stat[13]) + int(stat[14])) / TICKS
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                child = _stat(int(process.name))
            except OSError:
                continue  # it has just ended
            if child[1] == str(pid):
                total += _cpu_seconds(child)
    return total


class Part:
    """A process beside the bench that answers one JSON line for each line it is told."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, line: str) -> Any:
        """Say a line; return what comes back."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.heard()

    def heard(self) -> Any:
        """Return the next line that the process says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args!r} ended early")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(START_SECONDS)


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie, 0 for none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
