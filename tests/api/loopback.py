"""A real server on a loopback port, over a real SQLite file, without an engine."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeVar, cast

import uvicorn
from starlette.types import ASGIApp

from api.world import OPERATOR_TOKEN, Dial, Faults, make_api, settings_for
from hookline.api.app import create_app
from hookline.api.context import Api
from hookline.clock import Clock
from hookline.storage.protocol import Storage
from hookline.storage.sqlite import SqliteStorage

Result = TypeVar("Result")
StorageIn = Callable[[Path, Clock], Storage]


def sqlite_in(directory: Path, clock: Clock) -> Storage:
    """Make the storage that these tests run on."""
    return SqliteStorage(str(directory / "hookline.db"), clock=clock)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    set_cookies: tuple[str, ...] = ()
    """Each by itself: the only header that may come more than once."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """uvicorn on its own loop in a thread; `call` speaks HTTP to it, `run` awaits on its loop."""

    def __init__(
        self,
        directory: Path,
        variables: dict[str, str] | None = None,
        storage_in: StorageIn = sqlite_in,
        app_of: Callable[[Api], ASGIApp] = create_app,
    ) -> None:
        self.clock = Dial()
        self.is_draining = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.faults = Faults(storage_in(directory, self.clock))
        self.storage = cast("Storage", self.faults)
        self.run(self.storage.open())
        self.api = make_api(self.storage, self.clock, settings_for(variables or {}), lambda: self.is_draining)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(app_of(self.api), lifespan="off", ws="none", log_config=None, access_log=False)
        )
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        self.run(self._server.startup(sockets=[listener]))

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = OPERATOR_TOKEN,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make one request; a body that is not bytes is sent as JSON."""
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            content = response.read()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, content, tuple(response.headers.get_all("set-cookie", ())))
        finally:
            connection.close()

    def exchange(self, raw: bytes) -> bytes:
        """Send bytes as they are; return all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(raw)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
            return received

    def close(self) -> None:
        async def end() -> None:
            self._server.should_exit = True
            await self._server.shutdown()
            await self.storage.close()

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
