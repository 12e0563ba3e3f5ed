"""The life of one process: listen, announce, deliver, drain on SIGTERM, end.

Given its parts by `wiring`, it only orders their beginnings and ends. On SIGTERM `/readyz` turns 503, requests are
served a while longer for load balancers to notice, attempts in flight end and are settled; on SIGINT there is nobody
to wait for; a second signal, or a database that confirms nothing any more, ends everything at once, which loses nothing
but time: leases pass by themselves.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

from hookline.api.connection import HttpConnection
from hookline.engine import Engine
from hookline.errors import StartRefused

log = logging.getLogger("hookline.serving")

BACKLOG: Final = 2048
"""Connections the kernel holds while the loop is busy."""
KEEP_ALIVE_SECONDS: Final = 75
"""Publishers keep connections; longer than the minute after which common load balancers close theirs."""
INTERRUPTED: Final = 130
UNCONFIRMED: Final = 1
"""Exit code where the end came before the database had confirmed everything."""
LISTEN_REMEDIES: Final[Mapping[int, str]] = {
    errno.EADDRINUSE: "Stop what listens there, or choose another port with --port (0 picks a free one).",
    errno.EACCES: "Ports below 1024 are kept for the privileged: choose a higher one with --port.",
    errno.EADDRNOTAVAIL: "This machine has no such address: choose one it has with --host (0.0.0.0 means all).",
}


class Leaving:
    """Whether this process takes nothing new any more: read by `/readyz`."""

    def __init__(self) -> None:
        self.is_draining = False


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: this file owns the process's end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: Any,  # an ASGI application
    *,
    listener: socket.socket,
    trusted_proxies: str | None,
    engine: Engine | None,
    leaving: Leaving,
    drain_seconds: float,
    settling_seconds: float,
    announce: Callable[[], None],
) -> int:
    """Run until a signal; return the exit code. `announce` is called once requests are accepted.

    After the drain, what is in flight has `settling_seconds` to end and to be confirmed; then it is left to its lease.
    """
    signals = _Signals()
    server = _Server(
        uvicorn.Config(
            app,
            http=HttpConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            proxy_headers=trusted_proxies is not None,
            forwarded_allow_ips=trusted_proxies,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    delivering = asyncio.create_task(engine.run()) if engine else None
    parts = {task for task in (serving, delivering) if task}
    try:
        await _until_started(server, serving)
        announce()
        first = asyncio.create_task(signals.first.wait())
        await asyncio.wait({first, *parts}, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        _raise_if_failed(parts)
        leaving.is_draining = True
        if not signals.is_terminate:
            drain_seconds = 0
        ending = asyncio.create_task(_end(server, engine, parts, drain_seconds, settling_seconds))
        second = asyncio.create_task(signals.second.wait())
        await asyncio.wait({ending, second}, return_when=asyncio.FIRST_COMPLETED)
        second.cancel()
        if ending.done():
            return await ending
        log.warning("a second signal: ending at once; attempts in flight will be repeated when their leases end")
        ending.cancel()
        return INTERRUPTED
    finally:
        server.force_exit = True
        for task in parts:
            task.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        signals.close()


async def _end(
    server: uvicorn.Server,
    engine: Engine | None,
    parts: set[asyncio.Task[None]],
    drain_seconds: float,
    settling_seconds: float,
) -> int:
    log.info("ending: requests are served for %g s more, attempts in flight end", drain_seconds)
    await asyncio.sleep(drain_seconds)
    server.should_exit = True
    if engine:
        engine.stop()
    _, unfinished = await asyncio.wait(parts, timeout=settling_seconds)
    _raise_if_failed(parts)
    if unfinished:
        log.warning(
            "not all was confirmed in %g s: ending all the same; what is unsettled is repeated when its lease ends."
            " If the log above says that the database did not answer, see to that first.",
            settling_seconds,
        )
        return UNCONFIRMED
    return 0


async def _until_started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            await serving
            raise StartRefused("the HTTP server ended before it began; the log above says why")
        await asyncio.sleep(0.005)


def _raise_if_failed(parts: set[asyncio.Task[None]]) -> None:
    for task in parts:
        if task.done():
            task.result()


def listen(host: str, port: int) -> socket.socket:
    """Bind the listening socket; raise `StartRefused` where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        remedy = LISTEN_REMEDIES.get(error.errno or 0, "Choose another with --host and --port.")
        raise StartRefused(f"cannot listen on {host} port {port}: {reason}. {remedy}") from error


class _Signals:
    """SIGTERM and SIGINT as events of the running loop."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.is_terminate = False
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._note, number)

    def _note(self, number: int) -> None:
        if self.first.is_set():
            self.second.set()
        else:
            self.is_terminate = number == signal.SIGTERM
            self.first.set()

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
