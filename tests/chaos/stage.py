"""What a run needs: databases, nodes on them, a receiver; all gone when it ends."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e.harness import Client, Server
from e2e.receiver import Receiver
from postgres_server import Cluster, own_cluster

from .balancer import Balancer
from .proxy import Proxy

LAUNCHER = Path(__file__).with_name("launcher.py")
LEASE_SECONDS = 8
SHORT_LEASE = {
    "HOOKLINE_TIMEOUT_SECONDS_MAX": "1",
    "CHAOS_COMMIT_SECONDS": "4",
    "HOOKLINE_LEASE_SECONDS": str(LEASE_SECONDS),
}
"""As short as it may be beside timeout, body and a commit budget that is 4 s here instead of 10."""
ENGINES = ("sqlite", "postgres")


class Stage:
    """Makes things and sees to their end. The PostgreSQL is ours, so it may be crashed."""

    def __init__(self, folder: Path, make_cluster: Callable[[], Cluster] | None = None) -> None:
        self._folder = folder
        self._make_cluster = make_cluster
        self._names = count(1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def cluster(self) -> Cluster:
        """The PostgreSQL server, started when it is first asked for."""
        return self._make_cluster() if self._make_cluster else self._stack.enter_context(own_cluster())

    def database(self, engine: str) -> str:
        """Make an empty database; return its address."""
        if engine == "postgres":
            return asyncio.run(self.cluster.server.new_database())
        return f"sqlite:///{self.folder()}/hookline.db"

    def folder(self) -> Path:
        """Make a folder."""
        folder = self._folder / f"{next(self._names)}"
        folder.mkdir()
        return folder

    def node(self, database_url: str, **environment: str) -> Server:
        """Make a node; it is not started."""
        program = (sys.executable, str(LAUNCHER))
        node = Server(self.folder(), database_url, {**SHORT_LEASE, **environment}, program)
        self._stack.callback(node.close)
        return node

    def client(self, node: Server) -> Client:
        """Make the operator's client of a node."""
        client = node.client()
        self._stack.callback(client.close)
        return client

    def receiver(self) -> Receiver:
        """Start a receiver."""
        receiver = Receiver().start()
        self._stack.callback(receiver.close)
        return receiver

    def balancer(self, nodes: Sequence[Server]) -> Balancer:
        """Start a load balancer before nodes."""
        balancer = Balancer(nodes).start()
        self._stack.callback(balancer.close)
        return balancer

    def proxy(self, target: str | int) -> Proxy:
        """Start a proxy before a socket: its file, or its loopback port."""
        proxy = Proxy(target).start()
        self._stack.callback(proxy.close)
        return proxy
