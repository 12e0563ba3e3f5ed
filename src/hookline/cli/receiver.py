"""A receiver on this machine: takes deliveries, checks their signatures, answers 200, or 503 where told to.

Where it hands deliveries on, the program behind it answers; what is not genuine never gets there.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple

from hookline import __version__
from hookline.cli.verification import Check, Checks, verify
from hookline.clock import Clock

BODY_BYTES_MAX: Final = 1 << 20
"""Four times the largest data that Hookline takes."""
DIGITS_MAX: Final = 12
"""A longer Content-Length is too large, and need not become a number first."""
IDS_MAX: Final = 10_000
"""So many webhook ids are remembered for counting; the oldest is forgotten."""


Forward = Callable[[Mapping[str, str], bytes], int]
"""Hands headers and body on; returns the status to answer."""


class Received(NamedTuple):
    """One request as it came, and what was answered."""

    at: int
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    checks: Checks
    status: int

    @property
    def webhook_id(self) -> str:
        """The event's id, the same on every attempt."""
        return self.headers.get("webhook-id", "")

    @property
    def attempt(self) -> str:
        """The number of the attempt, as the sender counts."""
        return self.headers.get("hookline-attempt", "")


class Receiver:
    """Listens from `start` to `close`; calls `on_request`, one at a time, before it answers."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        secret: str | None,
        fail_first: int,
        delay_seconds: float,
        clock: Clock,
        on_request: Callable[[Received], None],
        forward: Forward | None = None,
    ) -> None:
        self.secret = secret
        self.answered = threading.Semaphore(0)
        """Released after each answer."""
        self._fail_first = fail_first
        self._delay_seconds = delay_seconds
        self._clock = clock
        self._on_request = on_request
        self._forward = forward
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Where to send deliveries."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests still waiting out their delay get no answer."""
        self._closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Check one request, report it, and return the status to answer."""
        at = self._clock.wall_ms()
        self._closing.wait(self._delay_seconds)
        checks = verify(self.secret, headers, body, at // 1000)
        with self._lock:
            is_to_fail = self._count(headers.get("webhook-id", "")) <= self._fail_first
        status = 503 if is_to_fail else self._status(headers, body, checks)
        with self._lock:
            self._on_request(Received(at, path, headers, body, checks, status))
        return status

    def _status(self, headers: Mapping[str, str], body: bytes, checks: Checks) -> int:
        if self._forward is None:
            return 200
        if not (checks.are_valid or checks.hub is Check.UNCHECKED):
            return 401
        return self._forward(headers, body)

    def _count(self, webhook_id: str) -> int:
        count = self._seen.pop(webhook_id, 0) + 1
        self._seen[webhook_id] = count
        if len(self._seen) > IDS_MAX:
            self._seen.popitem(last=False)
        return count


class _Server(ThreadingHTTPServer):
    """Hands requests to its receiver."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], receiver: Receiver) -> None:
        self.receiver = receiver
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = f"hookline-listen/{__version__}"
    sys_version = ""
    timeout = 30
    server: _Server

    def do_GET(self) -> None:
        """Say that somebody listens; it is no delivery, and nobody is told of it."""
        self._answer(200)

    def do_POST(self) -> None:
        """Take one delivery."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse(411)
            return
        if len(length) > DIGITS_MAX or int(length) > BODY_BYTES_MAX:
            self._refuse(413)
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._answer(self.server.receiver.take(self.path, headers, body))
        self.wfile.flush()
        self.server.receiver.answered.release()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Stay silent: what came is reported by the receiver."""

    def _refuse(self, status: int) -> None:
        """Answer without reading the body, after which the connection is of no more use."""
        self._answer(status)
        self.close_connection = True

    def _answer(self, status: int) -> None:
        body = b"thanks\n" if 200 <= status <= 299 else b"not now\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
