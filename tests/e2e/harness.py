"""A server process and a client of its API: what a user has, and nothing that only we have."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

OPERATOR_TOKEN = "an-operator-token-of-the-end-to-end-tests"
PATIENCE_SECONDS = 30.0
READY = "hookline ready on "
PROGRAM = (sys.executable, "-m", "hookline")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}


# --- the process -----------------------------------------------------------------------------------------------------


class Server:
    """`hookline serve --dev` on one database, started, ended, killed and started again."""

    def __init__(
        self,
        directory: Path,
        database_url: str,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.url = ""
        self.database_url = database_url
        self._directory = directory
        self._environment = {
            "HOOKLINE_OPERATOR_TOKEN": OPERATOR_TOKEN,
            "HOOKLINE_DRAIN_SECONDS": "0",
            "HOOKLINE_SECRET_KEY": "ZW5kLXRvLWVuZC10ZXN0cy1zZWFsLXdpdGgtdGhpcyE=",
            **(environment or {}),
        }
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._said: list[str] = []
        self._reader: threading.Thread | None = None

    @property
    def log(self) -> str:
        """All that the process has logged over all its lives."""
        path = self._directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start the process; return once it accepts requests."""
        if not self.launch().is_ready(PATIENCE_SECONDS):
            self.close()
            raise AssertionError(f"the server did not start: {self._said}\n{self.log[-4000:]}")
        return self

    def launch(self) -> Self:
        """Start the process and wait for nothing."""
        self._ready = ready = threading.Event()
        with (self._directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._program, "serve", "--dev", "--port", "0", "--database", self.database_url],
                cwd=self._directory,
                env={**CLEAN, **self._environment},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, args=(self._process, ready), daemon=True)
        self._reader.start()
        return self

    def is_ready(self, patience_seconds: float) -> bool:
        """Tell whether the process launched last accepts requests, or does so in time; no where it ended before."""
        assert self._reader is not None
        deadline = time.monotonic() + patience_seconds
        while self._reader.is_alive() and time.monotonic() < deadline:
            if self._ready.wait(0.02):
                return True
        return self._ready.is_set()

    def terminate(self) -> None:
        """Ask the process to end, as a supervisor does."""
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, patience_seconds: float = PATIENCE_SECONDS) -> int:
        """Return the exit code once the process has ended; raise `TimeoutExpired` where patience ends first."""
        assert self._process is not None
        code = self._process.wait(patience_seconds)
        self._close()
        return code

    def stop(self) -> int:
        """End the process in order; return its exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """End the process as a power cut would end it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def restart(self) -> Self:
        """Start again on the same database; the port is another one."""
        return self.start()

    def set(self, **environment: str) -> Self:
        """Change settings from the next start on."""
        self._environment |= environment
        return self

    def close(self) -> None:
        """Make sure that nothing runs any more."""
        if self._process is not None:
            self.kill()

    def client(self, token: str | None = OPERATOR_TOKEN) -> "Client":
        """Return a client of this server; it follows restarts."""
        return Client(lambda: self.url, token)

    def _read(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._said.append(line)
            if line.startswith(READY):
                self.url = line.removeprefix(READY).strip()
                ready.set()

    def _close(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        if self._reader is not None:
            self._reader.join(PATIENCE_SECONDS)
        self._process.stdout.close()
        self._process = None


# --- the client ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Unanswered(Exception):
    """The connection broke before the answer was there: whether the request counted is unknown."""


@dataclass
class Client:
    """One keep-alive connection to the API, for one thread."""

    url: Callable[[], str]
    token: str | None = OPERATOR_TOKEN
    _connection: HTTPConnection | None = field(default=None, init=False)
    _connected_to: str = field(default="", init=False)
    _others: "list[Client]" = field(default_factory=list, init=False)

    def as_(self, token: str | None) -> "Client":
        """Return a client with another token, on its own connection; it is closed with this one."""
        self._others.append(Client(self.url, token))
        return self._others[-1]

    def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Make one request; a body that is not bytes is sent as JSON. Raises `Unanswered` where no answer came."""
        sent = dict(headers or {})
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = self._connection_to(self.url())
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        except (OSError, HTTPException) as error:
            self._disconnect()
            raise Unanswered(f"{method} {path}") from error
        if response.will_close:
            self._disconnect()
        return answer

    def made(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Make a request that must succeed; return its JSON, None for an empty answer."""
        answer = self.call(method, path, body, headers)
        assert 200 <= answer.status <= 299, f"{method} {path}: {answer.status} {answer.body!r}"
        return answer.json if answer.body else None

    def close(self) -> None:
        """Let go of the connection, and of those of the clients made from this one."""
        self._disconnect()
        for other in self._others:
            other.close()

    # what tests do all the time

    def company(self, name: str = "Acme") -> int:
        """Make a company; return its id."""
        company_id: int = self.made("POST", "/v1/companies", {"name": name})["id"]
        return company_id

    def member_of(self, company_id: int, role: str = "member") -> "Client":
        """Make a token of the company; return a client that shows it."""
        token = self.made("POST", f"/v1/companies/{company_id}/tokens", {"name": "test", "role": role})["token"]
        return self.as_(token)

    def publish(self, company_id: int, data: Any = None, event_type: str = "note.created", **more: Any) -> str:
        """Publish one event for one company; return its id."""
        body = {"eventType": event_type, "companyIds": [company_id], "data": {} if data is None else data, **more}
        event_id: str = self.made("POST", "/v1/events", body)["id"]
        return event_id

    def log(self, subscription_id: int, **query: object) -> list[dict[str, Any]]:
        """Read the whole delivery log of a subscription, or what `query` narrows it to, oldest first."""
        rows: list[dict[str, Any]] = []
        before = ""
        wanted = "".join(f"&{name}={value}" for name, value in query.items())
        while True:
            path = f"/v1/webhooks/{subscription_id}/deliveries?size=200{before}{wanted}"
            content = self.made("GET", path)["content"]
            rows += content
            if len(content) < 200:
                return rows[::-1]
            before = f"&beforeId={content[-1]['id']}"

    def _connection_to(self, url: str) -> HTTPConnection:
        if self._connection is None or self._connected_to != url:
            self._disconnect()
            self._connection = HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_SECONDS)
            self._connected_to = url
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# --- waiting ---------------------------------------------------------------------------------------------------------


def until(is_so: Callable[[], bool], what: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Ask again and again, without haste, until the answer is yes; fail, naming `what`, when patience ends."""
    deadline = time.monotonic() + patience_seconds
    pause = threading.Event()
    while not is_so():
        assert time.monotonic() < deadline, f"did not come to pass in {patience_seconds:g} s: {what}"
        pause.wait(0.02)
