"""Measure the whole path: a publish over HTTP, a signed delivery at a receiver, everything durable in between.

Starts the real server on a new SQLite file (or on `--database`), 100 companies with a subscription each, a receiver
and publishers on loopback; bounded in count and time. Three runs: warming up, as fast as it goes, and at a steady rate.
CPU is the server's alone, user and system, as the kernel counts it; compare figures only within one run of one machine.
"""

import argparse
import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from load import Publisher, Receiver, bodies, publish_head, token_of

TOKEN = "bench-operator-token-0123456789abcdef"
COMPANIES = 100
CONNECTIONS = 64
WARM_EVENTS = 4_000
SECONDS_MAX = 120.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    """What one run came to."""

    name: str
    events: int
    refused: int
    acknowledged_per_second: float
    delivered_per_second: float
    cpu_us_per_delivery: float
    acknowledged_ms: tuple[float, float]
    """From sending a request to its 202: median and 99th percentile."""
    arrived_ms: tuple[float, float]
    """From sending a request to the delivery's last byte at the receiver: likewise."""
    memory_mib: float


class Service:
    """The server as a process of its own."""

    def __init__(self, process: subprocess.Popen[str], host: str, port: int) -> None:
        self.process = process
        self.host = host
        self.port = port

    def call(self, method: str, path: str, body: object) -> Any:
        """Make one call as the operator."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def memory_mib(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def service(database: str | None) -> Iterator[Service]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        address = database or f"sqlite:///{folder}/bench.db"
        environment = os.environ | {"HOOKLINE_OPERATOR_TOKEN": TOKEN, "HOOKLINE_DRAIN_SECONDS": "0"}
        with (Path(folder) / "log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hookline", "serve", "--dev", "--port", "0", "--database", address],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
            try:
                assert process.stdout is not None
                found = re.search(r"http://([\d.]+):(\d+)", process.stdout.readline())
                if found is None:
                    raise RuntimeError((Path(folder) / "log").read_text(encoding="utf-8"))
                yield Service(process, found[1], int(found[2]))
            finally:
                process.terminate()
                process.wait(30)


class Bench:
    """One server, one receiver, and the publishers of each run."""

    def __init__(self, under_test: Service) -> None:
        self._service = under_test
        self._companies: list[int] = []
        self._arrived: dict[bytes, float] = {}

    async def prepare(self) -> None:
        """Listen, and subscribe every company to the receiver."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Receiver(self._note), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for number in range(COMPANIES):
            company = await asyncio.to_thread(self._service.call, "POST", "/v1/companies", {"name": f"{number}"})
            subscription = {"callbackUrl": f"http://127.0.0.1:{port}/{number}", "maxInFlight": 20}
            path = f"/v1/webhooks?companyId={company['id']}"
            await asyncio.to_thread(self._service.call, "POST", path, subscription)
            self._companies.append(company["id"])

    def _note(self, _path: bytes, body: bytes, at: float) -> None:
        self._arrived[token_of(body)] = at

    async def run(self, name: str, events: int, per_second: float | None) -> Figures:
        """Publish so many events, as fast as the connections go or at a steady rate; wait until all have arrived."""
        self._arrived.clear()
        waiting, sent_at = bodies(self._companies, events), dict[bytes, float]()
        answers, refused = list[float](), 0

        def next_body() -> bytes | None:
            if not waiting:
                return None
            body = waiting.popleft()
            sent_at[token_of(body)] = time.monotonic()
            return body

        def acknowledged(status: int, seconds: float) -> None:
            nonlocal refused
            answers.append(seconds)
            refused += status != 202

        begun_at, cpu_before = time.monotonic(), self._service.cpu_seconds()
        async with asyncio.timeout(SECONDS_MAX):
            await self._publish(next_body, acknowledged, events if per_second else None, per_second or 0.0)
            acknowledged_at = time.monotonic()
            while len(self._arrived) < events - refused:
                await asyncio.sleep(0.002)
        ended_at, cpu = time.monotonic(), self._service.cpu_seconds() - cpu_before
        delays = [self._arrived[token] - at for token, at in sent_at.items() if token in self._arrived]
        return Figures(
            name=name,
            events=events,
            refused=refused,
            acknowledged_per_second=events / (acknowledged_at - begun_at),
            delivered_per_second=events / (ended_at - begun_at),
            cpu_us_per_delivery=cpu / events * 1e6,
            acknowledged_ms=_percentiles(answers),
            arrived_ms=_percentiles(delays),
            memory_mib=self._service.memory_mib(),
        )

    async def _publish(
        self,
        next_body: Callable[[], bytes | None],
        acknowledged: Callable[[int, float], None],
        events: int | None,
        per_second: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        head = publish_head(f"{self._service.host}:{self._service.port}", TOKEN)
        allowed = 0

        def when_allowed() -> bytes | None:
            nonlocal allowed
            if allowed == 0:
                return None
            allowed -= 1
            return next_body()

        ends = [loop.create_future() for _ in range(CONNECTIONS)]
        publishers = []
        for end in ends:
            source = next_body if events is None else when_allowed
            _, publisher = await loop.create_connection(
                lambda end=end, source=source: Publisher(head, source, acknowledged, end),  # type: ignore[misc]
                self._service.host,
                self._service.port,
            )
            publishers.append(publisher)
        if events is None:
            await asyncio.gather(*ends)
            return
        begun_at = loop.time()
        for number in range(events):
            await asyncio.sleep(max(0.0, begun_at + number / per_second - loop.time()))
            while (idle := next((each for each in publishers if each.is_idle), None)) is None:
                await asyncio.sleep(0.001)
            allowed = 1
            idle.go()
        while not all(each.is_idle for each in publishers):
            await asyncio.sleep(0.001)


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    ordered = sorted(seconds) or [0.0]
    return ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000


async def measure(database: str | None, events: int, per_second: float) -> list[Figures]:
    """Make all runs on one server."""
    with service(database) as under_test:
        bench = Bench(under_test)
        await bench.prepare()
        return [
            await bench.run("warm up", WARM_EVENTS, None),
            await bench.run("as fast as it goes", events, None),
            await bench.run(f"{per_second:g} a second", int(per_second * 6), per_second),
        ]


def main() -> None:
    """Measure and print, for people or (`--json`) for programs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=30_000, help="of the fast run")
    parser.add_argument("--per-second", type=float, default=500, help="of the steady run")
    parser.add_argument("--database", help="sqlite:///FILE or postgresql://…; a new SQLite file by default")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = uvloop.run(measure(asked.database, asked.events, asked.per_second))
    if asked.json:
        print(json.dumps([figures._asdict() for figures in found]))
        return
    print(f"{'':20}{'events':>8}{'acked/s':>9}{'sent/s':>8}{'CPU':>8}{'acked ms':>14}{'arrived ms':>16}{'memory':>9}")
    for each in found:
        acked, arrived = (f"{median:.1f} / {worst:.1f}" for median, worst in (each.acknowledged_ms, each.arrived_ms))
        print(
            f"{each.name:20}{each.events:8,}{each.acknowledged_per_second:9,.0f}{each.delivered_per_second:8,.0f}"
            f"{each.cpu_us_per_delivery:5.0f} µs{acked:>14}{arrived:>16}{each.memory_mib:5.0f} MiB"
            + (f"   {each.refused} refused" if each.refused else "")
        )


if __name__ == "__main__":
    main()
