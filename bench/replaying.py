"""Measure what a replay costs healthy traffic: 50 subscriptions, and one that gets what it has had before once more.

All on one server and database. Its subscription first gets the events of a day; then windows follow by turns: without
a replay, and with one under way. The figures are those of the other subscriptions. At last one replay is left to run
to its end, to see how long it takes.
"""

import argparse
import json
import time
from functools import partial
from typing import Any, Final

from receiver import HOSTS
from rounds import Bar, arrived, by_turns, compare, conclude
from service import TOKEN, Part, Service, running

COMPANIES: Final = 10
HEALTHY: Final = 50
CONNECTIONS: Final = 16
RATE: Final = 100.0
"""Events a second of all healthy subscriptions."""
EVENTS: Final = 100_000
BATCH: Final = 100
DELIVERY_SECONDS_MAX: Final = 300.0
BAR: Final = Bar(times=1.1, more_ms=10)


def main() -> None:
    """Prepare, measure by turns, and show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS, help=f"that the replay is of ({EVENTS:,})")
    parser.add_argument("--seconds", type=float, default=10, help="of each window (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="of both windows (default 3)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"healthy events a second ({RATE:g})")
    parser.add_argument(
        "--to-the-end", type=float, default=0, metavar="SECONDS", help="that one may take (0: none runs)"
    )
    parser.add_argument("--database", help="as of end_to_end.py (default: a fresh SQLite file)")
    arguments = parser.parse_args()
    receiver = Part("receiver.py")
    port = receiver.heard()["port"]
    with running(arguments.database) as service:
        healthy = _healthy(service, port)
        behind = _replayable(service, receiver, port, arguments.events)
        load = Part(
            "load.py",
            json.dumps({"url": service.url, "token": TOKEN, "targets": healthy, "connections": CONNECTIONS}),
        )
        warm = load.ask(json.dumps({"seconds": 2, "rate": arguments.rate}))
        arrived(receiver, warm["acknowledged"])
        window = partial(_window, service, load, receiver, arguments)
        p99 = by_turns(
            {"without a replay": partial(window, None), "beside a replay": partial(window, behind)}, arguments.rounds
        )
        comparison = compare(p99, "beside a replay", "without a replay", BAR)
        if arguments.to_the_end:
            _run_to_the_end(service, behind, arguments.to_the_end)
        load.close()
    receiver.close()
    conclude(p99, [comparison])


def _healthy(service: Service, port: int) -> list[tuple[str, list[int]]]:
    targets = []
    companies = [service.call("POST", "/v1/companies", {"name": "Bench"})["id"] for _ in range(COMPANIES)]
    for number in range(HEALTHY):
        company_id, event_type = companies[number % COMPANIES], f"bench.{number}"
        service.call("PUT", f"/v1/event-types/{event_type}", {})
        url = f"http://127.0.0.{1 + number % (HOSTS - 1)}:{port}/measured/{number}"
        service.subscribe(company_id, url, eventTypes=[event_type])
        targets.append((event_type, [company_id]))
    return targets


def _replayable(service: Service, receiver: Part, port: int, events: int) -> int:
    """Deliver so many events to a subscription; return its id."""
    company_id = service.call("POST", "/v1/companies", {"name": "Behind"})["id"]
    url = f"http://127.0.0.{HOSTS}:{port}/other"
    subscription_id = service.subscribe(company_id, url, eventTypes=["note.created"])
    event = {"eventType": "note.created", "companyIds": [company_id], "data": {"noteToken": "a1b2c3"}}
    begun = time.monotonic()
    for _ in range(0, events, BATCH):
        service.call("POST", "/v1/events/batch", {"events": [event] * BATCH})
    while (made := receiver.ask("count")["other"]) < events:
        if time.monotonic() - begun > DELIVERY_SECONDS_MAX:
            raise SystemExit(f"only {made} of {events} were delivered in {DELIVERY_SECONDS_MAX:g} s")
        time.sleep(0.2)
    print(f"{events} events delivered in {time.monotonic() - begun:.0f} s")
    return subscription_id


def _window(
    service: Service, load: Part, receiver: Part, arguments: argparse.Namespace, replayed: int | None
) -> list[float]:
    """Publish healthy traffic for so long; return how long each of its events was on its way."""
    replay = _begin(service, replayed) if replayed else None
    before = receiver.ask("take")["total"]
    published = load.ask(json.dumps({"seconds": arguments.seconds, "rate": arguments.rate}))
    milliseconds = arrived(receiver, published["acknowledged"], before)
    if replay:
        shown = service.call("GET", f"/v1/replays/{replay}")
        print(f"  {shown['done']} of {shown['total']} replayed, {shown['state']}")
        service.call("DELETE", f"/v1/replays/{replay}")
    return milliseconds


def _begin(service: Service, subscription_id: int) -> Any:
    said = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    return service.call("POST", f"/v1/webhooks/{subscription_id}/replay", said)["id"]


def _run_to_the_end(service: Service, subscription_id: int, seconds_max: float) -> None:
    begun, replay = time.monotonic(), _begin(service, subscription_id)
    while (shown := service.call("GET", f"/v1/replays/{replay}"))["state"] == "running":
        if time.monotonic() - begun > seconds_max:
            break
        time.sleep(0.5)
    seconds = time.monotonic() - begun
    print(f"{shown['done']} of {shown['total']} replayed in {seconds:.0f} s: {shown['done'] / seconds:.0f} a second")


if __name__ == "__main__":
    main()
