"""Three PostgreSQL nodes of the wheel under Patroni with raft, synchronous and strict, each in a folder of its own.

PostgreSQL refuses to run as root: then all of it runs as nobody, with leave to read what root alone may read, for the
interpreter may lie in root's home.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from e2e.harness import until
from postgres_server import NOBODY, _programs

NODES = 3
TTL_SECONDS = 20
"""The least that Patroni allows: so long a leader may be silent."""
START_SECONDS, HEAL_SECONDS, STOP_SECONDS = 60.0, 120.0, 30.0

_READS_ALL = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


class Node:
    """One PostgreSQL with the Patroni that rules it."""

    def __init__(self, name: str, folder: Path, ports: Sequence[int], patroni: Sequence[str]) -> None:
        self.name = name
        self.folder = folder
        self.port, self.rest_port, self.raft_port = ports
        self._patroni = patroni
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start Patroni; it starts PostgreSQL when it is PostgreSQL's turn."""
        with (self.folder / "patroni.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._patroni, str(self.folder / "patroni.json")],
                cwd=self.folder,
                env={"LC_ALL": "C", "PATH": "/usr/bin:/bin", "HOME": str(self.folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self) -> Sequence[str]:
        """What Patroni has logged."""
        return (self.folder / "patroni.log").read_text(errors="replace").splitlines()

    def patroni(self) -> list[int]:
        """The process of Patroni."""
        return [self._process.pid] if self._process and self._process.poll() is None else []

    def postgres(self) -> list[int]:
        """The processes of PostgreSQL, the first of them first."""
        with suppress(OSError, ValueError, IndexError):
            first = int((self.data / "postmaster.pid").read_text().split()[0])
            if _parents().get(first) is not None:
                return [first, *(pid for pid, parent in _parents().items() if parent == first)]
        return []

    def send(self, number: signal.Signals, *, patroni: bool, postgres: bool) -> None:
        """Send a signal to one of the two, or both: Patroni first, so that it sees nothing of what happens."""
        for pid in [*(self.patroni() if patroni else ()), *(self.postgres() if postgres else ())]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is signal.SIGKILL and patroni and self._process:
            self._process.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Let frozen processes go on, and start Patroni where it is dead."""
        self.send(signal.SIGCONT, patroni=True, postgres=True)
        if not self.patroni():
            self.start()

    def stop(self) -> None:
        """End all of it."""
        self.send(signal.SIGCONT, patroni=True, postgres=True)
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL, patroni=True, postgres=False)
        self.send(signal.SIGKILL, patroni=False, postgres=True)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask Patroni over HTTP; None where it does not answer."""
        connection = HTTPConnection("127.0.0.1", self.rest_port, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            return json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def members(self) -> Sequence[Mapping[str, Any]]:
        """What it knows about all nodes; nothing where it does not answer."""
        answer = self.ask("GET", "/cluster") or {}
        members: Sequence[Mapping[str, Any]] = answer.get("members", ())
        return members


class Cluster:
    """The nodes."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes

    def is_whole(self) -> bool:
        """Tell whether one leads and the others stream from it, one of them synchronously, and all nodes say so.

        One that was frozen goes on believing for a while that it leads.
        """
        views = [node.members() for node in self.nodes]
        return all(map(_is_whole, views)) and len({_leader(view) for view in views}) == 1

    def heal(self) -> None:
        """Bring back what is missing, and wait until all is well."""
        for node in self.nodes:
            node.restart()
        until(self.is_whole, "three nodes, one of them leading and two streaming", HEAL_SECONDS)

    def primary(self) -> Node:
        """The node that leads a whole cluster."""
        name = _leader(self.nodes[0].members())
        return next(node for node in self.nodes if node.name == name)

    def url(self, first: Node) -> str:
        """An address with all hosts, this one first."""
        ordered = [first, *(node for node in self.nodes if node is not first)]
        return f"postgresql://postgres@{','.join(f'127.0.0.1:{node.port}' for node in ordered)}/hookline"


def _is_whole(members: Sequence[Mapping[str, Any]]) -> bool:
    followers = [member for member in members if member["role"] != "leader"]
    return (
        len(members) == NODES
        and len(followers) == NODES - 1
        and all(member["state"] == "streaming" for member in followers)
        and any(member["role"] == "sync_standby" for member in followers)
    )


def _leader(members: Sequence[Mapping[str, Any]]) -> str | None:
    return next((member["name"] for member in members if member["role"] == "leader"), None)


@contextmanager
def running(patroni: Path) -> Iterator[Cluster]:
    """Run a cluster with this program of Patroni's."""
    with TemporaryDirectory(prefix="hookline-failover-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(folder, NOBODY, NOBODY)
        command = [str(patroni)]
        if is_root:
            setpriv = shutil.which("setpriv")
            assert setpriv, "needs setpriv, of util-linux, to run as another user"
            command = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *_READS_ALL, *command]
        ports = _free_ports(3 * NODES)
        nodes = [
            Node(f"node{number}", folder / f"node{number}", ports[3 * number : 3 * number + 3], command)
            for number in range(NODES)
        ]
        programs = _programs(folder)
        for node in nodes:
            node.folder.mkdir()
            (node.folder / "patroni.json").write_text(json.dumps(_settings(node, nodes, programs)))
            if is_root:
                os.chown(node.folder, NOBODY, NOBODY)
        cluster = Cluster(nodes)
        try:
            for node in nodes:
                node.start()
            until(cluster.is_whole, "three nodes, one of them leading and two streaming", START_SECONDS)
            yield cluster
        except BaseException:
            for node in nodes:
                print(f"--- {node.name}", *node.said()[-15:], sep="\n")
            raise
        finally:
            for node in nodes:
                node.stop()


def _settings(node: Node, nodes: Sequence[Node], programs: Path) -> Mapping[str, Any]:
    return {
        "scope": "hookline",
        "name": node.name,
        "restapi": {"listen": f"127.0.0.1:{node.rest_port}", "connect_address": f"127.0.0.1:{node.rest_port}"},
        "raft": {
            "data_dir": str(node.folder / "raft"),
            "self_addr": f"127.0.0.1:{node.raft_port}",
            "partner_addrs": [f"127.0.0.1:{other.raft_port}" for other in nodes if other is not node],
        },
        "bootstrap": {
            "dcs": {
                "ttl": TTL_SECONDS,
                "loop_wait": 2,
                "retry_timeout": 5,
                "maximum_lag_on_failover": 1 << 30,
                # A server that died is not waited for: the next one takes over.
                "primary_start_timeout": 0,
                "synchronous_mode": True,
                # Rather no commit than one that a single node has.
                "synchronous_mode_strict": True,
                "postgresql": {
                    "use_pg_rewind": True,
                    "parameters": {
                        "max_connections": 60,
                        "shared_buffers": "32MB",
                        "synchronous_commit": "on",
                        "wal_log_hints": "on",
                        "wal_keep_size": "512MB",
                    },
                },
            },
            "initdb": [{"encoding": "UTF8"}, {"auth": "trust"}, "no-sync", "data-checksums"],
        },
        "postgresql": {
            "listen": f"127.0.0.1:{node.port}",
            "connect_address": f"127.0.0.1:{node.port}",
            "data_dir": str(node.data),
            "pgpass": str(node.folder / "pgpass"),
            "bin_dir": str(programs),
            "authentication": {
                "superuser": {"username": "postgres"},
                "replication": {"username": "replicator"},
                "rewind": {"username": "rewinder"},
            },
            "pg_hba": [
                "local all all trust",
                "host all all 127.0.0.1/32 trust",
                "host replication all 127.0.0.1/32 trust",
            ],
            "parameters": {"unix_socket_directories": str(node.folder)},
            # A standby that was a primary and cannot be rewound would try to start for ever.
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
        },
        "tags": {},
    }


def _free_ports(count: int) -> Sequence[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _parents() -> Mapping[int, int]:
    """The processes that live, with their parents."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError, IndexError):
                state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(path.name)] = int(parent)
    return parents
