"""A load balancer as platforms have one: connections go in turn to the nodes that say they are ready."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from e2e.harness import OPERATOR_TOKEN, Client, Server, Unanswered

from .proxy import Proxy

ASK_SECONDS = 0.1
"""Between two questions for `/readyz`."""


class Balancer:
    """Passes connections on; a connection stays with its node, whatever that says later."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.ready: list[Server] = []
        self._nodes = nodes
        self._turns = count()
        self._proxy = Proxy(self._port)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def start(self) -> "Balancer":
        """Begin to listen, and to ask the nodes."""
        self._proxy.start()
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop both."""
        self._is_over.set()
        self._thread.join()
        self._proxy.close()

    def client(self) -> Client:
        """Make the operator's client of whatever node is ready."""
        return Client(lambda: f"http://127.0.0.1:{self._proxy.port}", OPERATOR_TOKEN)

    def _port(self) -> int:
        ready = self.ready
        if not ready:
            raise ConnectionRefusedError("no node is ready")
        return int(ready[next(self._turns) % len(ready)].url.rpartition(":")[2])

    def _ask(self) -> None:
        clients = [(node, node.client(None)) for node in self._nodes]
        while not self._is_over.wait(ASK_SECONDS):
            self.ready = [node for node, client in clients if _is_ready(client)]
        for _, client in clients:
            client.close()


def _is_ready(client: Client) -> bool:
    with suppress(Unanswered):
        return client.call("GET", "/readyz").status == 200
    return False
