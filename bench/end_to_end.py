"""Measure the path from publish to arrival: real server process, real sockets, everything durable, loopback only.

First at saturation: a bounded number of connections publish single events as fast as they are answered. Then at a
calm pace, for the latency. One event is one delivery, unless `--fan-out` says otherwise: 20 companies, each with a host
of its own and five subscriptions, of which one takes the event's type. Prints a table and one line of JSON.
"""

import argparse
import json
import os
import sys
import time
from typing import Any, Final

from service import TOKEN, Part, Service, percentile, running

COMPANIES: Final = 20
SUBSCRIPTIONS: Final = 5
"""Of each company."""
CONNECTIONS: Final = 128
PACED_CONNECTIONS: Final = 16
WARM_UP_SECONDS: Final = 3.0
"""Until every subscription has grown from its first two slots to what it may have."""
DRAIN_SECONDS_MAX: Final = 60.0
QUIET_SECONDS: Final = 0.25


def main() -> None:
    """Run the bench as the arguments say."""
    arguments = _arguments()
    receiver = Part("receiver.py")
    port = receiver.heard()["port"]
    with running(arguments.database, arguments.profile) as service:
        targets = _subscribe(service, port, arguments.fan_out)
        figures: dict[str, Any] = {"load_average_before": os.getloadavg()[0], "fan_out": arguments.fan_out}
        load = _load(service, targets, arguments.connections)
        load.ask(json.dumps({"seconds": WARM_UP_SECONDS}))
        _drained(receiver)
        figures |= _saturated(service, load, receiver, arguments.seconds)
        load.close()
        load = _load(service, targets, PACED_CONNECTIONS)
        figures |= _paced(service, load, receiver, arguments.seconds, arguments.rate)
        load.close()
    receiver.close()
    _show(figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each of the two measurements (default 10)")
    parser.add_argument("--rate", type=float, default=500, help="events a second where latency is measured (500)")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, help=f"that publish at once ({CONNECTIONS})")
    parser.add_argument(
        "--fan-out", type=int, default=1, choices=range(1, SUBSCRIPTIONS + 1), help="deliveries of one event (1)"
    )
    parser.add_argument(
        "--database",
        help="an address as in HOOKLINE_DATABASE_URL, or `postgres` for a fresh one (default: a fresh SQLite file)",
    )
    parser.add_argument("--profile", metavar="FILE", help="sample the server's stacks into FILE; costs some speed")
    return parser.parse_args()


def _subscribe(service: Service, port: int, fan_out: int) -> list[tuple[str, list[int]]]:
    """Make companies and subscriptions; return the event type and companies of each kind of event."""
    targets = []
    for number in range(SUBSCRIPTIONS):
        service.call("PUT", f"/v1/event-types/bench.{number}", {})
    for host in range(1, COMPANIES + 1):
        company_id = service.call("POST", "/v1/companies", {"name": "Bench"})["id"]
        for number in range(SUBSCRIPTIONS):
            types = [f"bench.{(number + more) % SUBSCRIPTIONS}" for more in range(fan_out)]
            service.subscribe(company_id, f"http://127.0.0.{host}:{port}/{number}", eventTypes=types)
        targets += [(f"bench.{number}", [company_id]) for number in range(SUBSCRIPTIONS)]
    return sorted(targets)


def _load(service: Service, targets: list[tuple[str, list[int]]], connections: int) -> Part:
    said = {"url": service.url, "token": TOKEN, "targets": targets, "connections": connections}
    return Part("load.py", json.dumps(said))


def _saturated(service: Service, load: Part, receiver: Part, seconds: float) -> dict[str, Any]:
    before, total_before = service.usage(), receiver.ask("take")["total"]
    begun = time.monotonic()
    published = load.ask(json.dumps({"seconds": seconds}))
    window = time.monotonic() - begun
    in_window = receiver.ask("count")["total"] - total_before
    total = _drained(receiver)["total"] - total_before
    drained = time.monotonic() - begun - QUIET_SECONDS
    used = service.usage()
    return {
        "acknowledged_per_second": published["acknowledged"] / published["seconds"],
        "delivered_per_second": in_window / window,
        "delivered_per_second_to_the_last": total / drained,
        "left_to_deliver_at_the_end": total - in_window,
        "acknowledge_ms_p50": percentile(published["milliseconds"], 0.5),
        "acknowledge_ms_p99": percentile(published["milliseconds"], 0.99),
        "cpu_us_per_delivery": (used.cpu_seconds - before.cpu_seconds) / total * 1e6,
        "database_cpu_us_per_delivery": (used.database_cpu_seconds - before.database_cpu_seconds) / total * 1e6,
        "rss_mib": used.rss_bytes / 2**20,
        "rss_mib_max": used.rss_bytes_max / 2**20,
    }


def _paced(service: Service, load: Part, receiver: Part, seconds: float, rate: float) -> dict[str, Any]:
    load.ask(json.dumps({"seconds": 1, "rate": rate}))
    _drained(receiver)
    receiver.ask("take")
    before = service.usage()
    published = load.ask(json.dumps({"seconds": seconds, "rate": rate}))
    _drained(receiver)
    milliseconds = sorted(receiver.ask("take")["milliseconds"])
    used = service.usage()
    return {
        "paced_per_second": published["acknowledged"] / published["seconds"],
        "paced_deliveries": len(milliseconds),
        "arrival_ms_p50": percentile(milliseconds, 0.5),
        "arrival_ms_p99": percentile(milliseconds, 0.99),
        "arrival_ms_max": percentile(milliseconds, 1),
        "paced_cpu_us_per_delivery": (used.cpu_seconds - before.cpu_seconds) / len(milliseconds) * 1e6,
    }


def _drained(receiver: Part) -> Any:
    """Wait until nothing has arrived for a moment; return the counts."""
    deadline = time.monotonic() + DRAIN_SECONDS_MAX
    answer = receiver.ask("count")
    while time.monotonic() < deadline:
        time.sleep(QUIET_SECONDS)
        before, answer = answer, receiver.ask("count")
        if answer["total"] == before["total"]:
            return answer
    sys.exit(f"deliveries did not end in {DRAIN_SECONDS_MAX:g} s")


def _show(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        print(
            f"{name.replace('_', ' '):36} {value:>12,.1f}"
            if isinstance(value, float)
            else f"{name.replace('_', ' '):36} {value:>12,}"
        )
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
