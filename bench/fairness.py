"""Measure what receivers that hang cost the others: 200 subscriptions, of which half never get an answer.

Every subscription takes an event type of its own, and single events go to all of them in turn. The figures are those
of the same half in three kinds of runs, each on a server and a database of its own and from the first second on: alone,
beside others that answer, and beside others that hang to their deadline. The last two publish the same.
"""

import argparse
import json
from functools import partial
from typing import Final

from receiver import HOSTS
from rounds import Bar, arrived, by_turns, compare, conclude
from service import TOKEN, Part, running

COMPANIES: Final = 20
CONNECTIONS: Final = 16
SUBSCRIPTIONS: Final = 200
RATE: Final = 1.0
"""Events a second for each subscription: a calm load, so that what is measured is the neighbours and not a queue."""
KINDS: Final = {"alone": None, "beside answering": "/other", "beside hanging": "/hang"}
"""What the other half is."""
BAR: Final = Bar(times=1.1, more_ms=10)


def main() -> None:
    """Make all runs by turns, and show them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each run (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="of all three kinds (default 3)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"events a second for each subscription ({RATE:g})")
    parser.add_argument("--subscriptions", type=int, default=SUBSCRIPTIONS, help=f"in all ({SUBSCRIPTIONS})")
    parser.add_argument("--hosts", type=int, default=HOSTS, choices=range(1, HOSTS + 1), help="shared by all (20)")
    parser.add_argument("--database", help="as of end_to_end.py (default: a fresh SQLite file)")
    arguments = parser.parse_args()
    p99 = by_turns({name: partial(_run, arguments, path) for name, path in KINDS.items()}, arguments.rounds)
    conclude(
        p99,
        [
            compare(p99, "beside hanging", "alone", BAR),
            compare(p99, "beside hanging", "beside answering", BAR),
        ],
    )


def _run(arguments: argparse.Namespace, others: str | None) -> list[float]:
    """Publish for so long; return how long each event of the measured half was on its way."""
    receiver = Part("receiver.py")
    port = receiver.heard()["port"]
    with running(arguments.database) as service:
        companies = [service.call("POST", "/v1/companies", {"name": "Bench"})["id"] for _ in range(COMPANIES)]
        targets, is_measured = [], []
        for number in range(arguments.subscriptions):
            # Each company has as many of one half as of the other, and so has each host.
            path = others if (number + number // COMPANIES) % 2 else "/measured"
            if path is None:
                continue
            company_id, event_type = companies[number % COMPANIES], f"bench.{number}"
            host = f"127.0.0.{1 + number // COMPANIES // 2 % arguments.hosts}"
            service.call("PUT", f"/v1/event-types/{event_type}", {})
            service.subscribe(company_id, f"http://{host}:{port}{path}/{number}", eventTypes=[event_type])
            targets.append((event_type, [company_id]))
            is_measured.append(path == "/measured")
        said = {"url": service.url, "token": TOKEN, "targets": targets, "connections": CONNECTIONS}
        load = Part("load.py", json.dumps(said))
        rate = arguments.rate * len(targets)
        published = load.ask(json.dumps({"seconds": arguments.seconds, "rate": rate}))
        load.close()
        # In turn, beginning with the second.
        wanted = sum(is_measured[(1 + number) % len(targets)] for number in range(published["acknowledged"]))
        milliseconds = arrived(receiver, wanted)
        receiver.close()  # first: the server ends when its attempts do, and those that hang take 30 s
    return milliseconds


if __name__ == "__main__":
    main()
