"""`hookline bench`: how fast this machine publishes and delivers, with a server and a database that are thrown away."""

import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from hookline.cli.client import Client
    from hookline.cli.receiver import Received
    from hookline.cli.target import Target

EXAMPLE = options.example("hookline bench --events 5000 --connections 32")

SUBSCRIPTIONS: Final = 5
PATIENCE_SECONDS: Final = 60
"""After the last publish, for the last arrival."""
SHOWN_AS: Final = {
    "events": "events",
    "publishedPerSecond": "published a second",
    "deliveredPerSecond": "delivered a second",
    "answeredMsP50": "until on disk and answered, ms: half of them within",
    "answeredMsP99": "99 of 100 within",
    "answeredMsMax": "all within",
    "arrivedMsP50": "until arrived, ms: half of them within",
    "arrivedMsP99": "99 of 100 within",
    "arrivedMsMax": "all within",
}
BODY: Final = (
    b'{"eventType":"note.created","id":"bench-%d","companyIds":[%d],"data":{"noteToken":"a1b2c3","hours":1.10}}'
)


def bench(
    events: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="Events to publish, one a request.")
    ] = 2000,
    connections: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="That publish at once.")] = 16,
    json: options.Json = False,
) -> None:
    """Measure publishing and delivering on this machine, everything durable, over loopback.

    Each event is one delivery. Publishers, receiver and server share the machine, and the first two are plain Python:
    a machine that only serves does more.
    """
    from hookline.cli.console import console, table, write_json
    from hookline.cli.temporary import server

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hookline-bench-")))
        figures = _measure(stack.enter_context(server(folder)), stack, events, connections)
    if json:
        write_json(figures)
        return
    console().print(table(("measured", "value"), [(SHOWN_AS[name], f"{value:,}") for name, value in figures.items()]))


def _measure(target: "Target", stack: ExitStack, events: int, connections: int) -> dict[str, Any]:
    from threading import Semaphore, local

    from hookline.cli.client import Client
    from hookline.cli.failure import Failure
    from hookline.cli.receiver import Receiver
    from hookline.clock import SystemClock

    clock = SystemClock()
    begun_at: dict[str, float] = {}
    arrivals: list[float] = []
    arrived = Semaphore(0)

    def on_request(request: "Received") -> None:
        if request.webhook_id in begun_at and request.attempt == "1":
            arrivals.append(clock.monotonic_seconds() - begun_at[request.webhook_id])
            arrived.release()

    receiver = Receiver(
        host="127.0.0.1", port=0, secret=None, fail_first=0, delay_seconds=0, clock=clock, on_request=on_request
    )
    stack.callback(receiver.close)
    receiver.start()
    company_ids = _subscribe(Client(target), receiver.url)
    own = local()

    def publish(number: int) -> float:
        if not hasattr(own, "client"):
            own.client = Client(target, keeps_connection=True)
        begun = begun_at[f"bench-{number}"] = clock.monotonic_seconds()
        own.client.call("POST", "/v1/events", body=BODY % (number, company_ids[number % SUBSCRIPTIONS]))
        return clock.monotonic_seconds() - begun

    begun = clock.monotonic_seconds()
    with ThreadPoolExecutor(connections) as pool:
        answered = sorted(pool.map(publish, range(events)))
    published_seconds = clock.monotonic_seconds() - begun
    for _ in range(events):
        if not arrived.acquire(timeout=PATIENCE_SECONDS):
            raise Failure("a delivery did not arrive in time.", "Is this machine very busy? Try fewer --events.")
    delivered_seconds = clock.monotonic_seconds() - begun
    return {
        "events": events,
        "publishedPerSecond": round(events / published_seconds, 1),
        "deliveredPerSecond": round(events / delivered_seconds, 1),
        **_spread("answeredMs", answered),
        **_spread("arrivedMs", sorted(arrivals)),
    }


def _subscribe(client: "Client", callback_url: str) -> list[int]:
    import msgspec

    company_ids = []
    for number in range(SUBSCRIPTIONS):
        made = client.call("POST", "/v1/companies", body=msgspec.json.encode({"name": f"Bench {number}"}))
        wanted = {"callbackUrl": f"{callback_url}{number}", "maxInFlight": 50}
        client.call("POST", "/v1/webhooks", query={"companyId": made["id"]}, body=msgspec.json.encode(wanted))
        company_ids.append(made["id"])
    return company_ids


def _spread(name: str, seconds: list[float]) -> dict[str, float]:
    def at(share: float) -> float:
        return round(1000 * seconds[min(len(seconds) - 1, int(share * len(seconds)))], 1)

    return {f"{name}P50": at(0.5), f"{name}P99": at(0.99), f"{name}Max": at(1)}
