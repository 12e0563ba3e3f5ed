"""Measure what receivers that hang cost the others: 50 subscriptions on one host, of which 25 hang.

Every subscription takes an event type of its own, and single events go to all of them in turn. The figures are those
of the same 25 in three runs, each on a server and a file of its own, from the first second on: alone, beside 25 that
answer, and beside 25 that hang. The last two publish the same.
"""

import argparse
import json
import os
import time
from statistics import median
from typing import Any, Final

from service import TOKEN, Part, percentile, running

COMPANIES: Final = 10
CONNECTIONS: Final = 16
SUBSCRIPTIONS: Final = 50
RATE: Final = 10.0
"""Events a second for each subscription: a calm load, so that what is measured is the neighbours and not a queue."""
ARRIVAL_SECONDS_MAX: Final = 20
KINDS: Final = {"alone": None, "beside answering": "/other", "beside hanging": "/hang"}
"""What the other 25 are."""


def main() -> None:
    """Make all runs by turns, and show them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each run (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="of all three runs (default 3)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"events a second for each subscription ({RATE:g})")
    arguments = parser.parse_args()
    rows = []
    for _ in range(arguments.rounds):
        for name in KINDS:
            rows.append(_run(name, arguments.seconds, arguments.rate))
            print(
                f"{name:18} p50 {rows[-1]['p50']:8.2f} ms   p99 {rows[-1]['p99']:8.2f} ms   "
                f"max {rows[-1]['max']:8.2f} ms   {rows[-1]['deliveries']:6} of {rows[-1]['expected']}"
            )
    middle = {name: median(row["p99"] for row in rows if row["name"] == name) for name in KINDS}
    for name in ("alone", "beside answering"):
        print(f"p99 beside hanging is {middle['beside hanging'] / middle[name]:.2f} times that {name} (medians)")
    print(json.dumps({"load_average": os.getloadavg()[0], "runs": rows}))


def _run(name: str, seconds: float, rate: float) -> dict[str, Any]:
    receiver = Part("receiver.py")
    port = receiver.heard()["port"]
    others = KINDS[name]
    with running(None) as service:
        companies = [service.call("POST", "/v1/companies", {"name": "Bench"})["id"] for _ in range(COMPANIES)]
        targets = []
        for number in range(SUBSCRIPTIONS):
            is_other = (number + number // COMPANIES) % 2 == 1
            path = others if is_other else "/measured"
            if path is None:
                continue
            company_id, event_type = companies[number % COMPANIES], f"bench.{number}"
            service.call("PUT", f"/v1/event-types/{event_type}", {})
            service.subscribe(company_id, f"http://127.0.0.1:{port}{path}/{number}", eventTypes=[event_type])
            targets.append((event_type, [company_id]))
        load = Part(
            "load.py", json.dumps({"url": service.url, "token": TOKEN, "targets": targets, "connections": CONNECTIONS})
        )
        published = load.ask(json.dumps({"seconds": seconds, "rate": rate * len(targets)}))
        load.close()
        wanted = round(published["acknowledged"] * SUBSCRIPTIONS / 2 / len(targets))
        deadline = time.monotonic() + ARRIVAL_SECONDS_MAX
        while receiver.ask("count")["total"] < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        answer = receiver.ask("take")
        receiver.close()  # first: the server ends when its attempts do, and those that hang take 30 s
    milliseconds = sorted(answer["milliseconds"])
    return {
        "name": name,
        "deliveries": len(milliseconds),
        "expected": wanted,
        "hanging": answer["hanging"],
        "p50": percentile(milliseconds, 0.5),
        "p99": percentile(milliseconds, 0.99),
        "max": percentile(milliseconds, 1),
    }


if __name__ == "__main__":
    main()
