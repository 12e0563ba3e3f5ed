"""Measure what a company that publishes 100 times the others' load costs them: ten that are calm, and one that is not.

The figures are those of the ten in three kinds of runs, each on a server and a database of its own: alone, beside as
much load from 50 other companies, and beside the one. So the first comparison shows what the load costs, the second
what it costs that it is all of one company.
"""

import argparse
import json
from functools import partial
from typing import Final

from receiver import HOSTS
from rounds import Bar, arrived, by_turns, compare, conclude
from service import TOKEN, Part, running

CALM: Final = 10
"""Companies that are measured, with one subscription each."""
CONNECTIONS: Final = 32
RATE: Final = 10.0
"""Events a second of all that are measured."""
TIMES: Final = 100
KINDS: Final = {"alone": 0, "beside 50 companies": 50, "beside one company": 1}
"""How many others share the load of `TIMES` as much."""
BAR: Final = Bar(times=1.25)


def main() -> None:
    """Make all runs by turns, and show them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each run (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="of all three kinds (default 3)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"events a second of the ten together ({RATE:g})")
    parser.add_argument("--times", type=int, default=TIMES, help=f"as much is published beside them ({TIMES})")
    parser.add_argument("--database", help="as of end_to_end.py (default: a fresh SQLite file)")
    arguments = parser.parse_args()
    p99 = by_turns({name: partial(_run, arguments, others) for name, others in KINDS.items()}, arguments.rounds)
    conclude(
        p99,
        [
            compare(p99, "beside one company", "alone", BAR),
            compare(p99, "beside one company", "beside 50 companies", BAR),
        ],
    )


def _run(arguments: argparse.Namespace, others: int) -> list[float]:
    """Publish for so long; return how long each event of the calm companies was on its way."""
    receiver = Part("receiver.py")
    port = receiver.heard()["port"]
    with running(arguments.database) as service:
        service.call("PUT", "/v1/event-types/bench.noise", {})

        def company(path: str, number: int) -> tuple[str, list[int]]:
            company_id = service.call("POST", "/v1/companies", {"name": "Bench"})["id"]
            host = f"127.0.0.{1 + number % HOSTS}"
            service.subscribe(company_id, f"http://{host}:{port}{path}", eventTypes=["bench.noise"])
            return "bench.noise", [company_id]

        calm = [company("/measured", number) for number in range(CALM)]
        noise = [company("/other", CALM + number) for number in range(others)]
        targets = _in_turn(calm, noise, arguments.times) if noise else calm
        said = {"url": service.url, "token": TOKEN, "targets": targets, "connections": CONNECTIONS}
        load = Part("load.py", json.dumps(said))
        every = len(targets) // len(calm)
        rate = arguments.rate * every
        published = load.ask(json.dumps({"seconds": arguments.seconds, "rate": rate}))
        load.close()
        wanted = sum((1 + number) % len(targets) % every == 0 for number in range(published["acknowledged"]))
        milliseconds = arrived(receiver, wanted)
        receiver.close()
    return milliseconds


def _in_turn(
    calm: list[tuple[str, list[int]]], noise: list[tuple[str, list[int]]], times: int
) -> list[tuple[str, list[int]]]:
    """Return the order of publishing: after each calm one so many others."""
    targets = []
    for number, each in enumerate(calm):
        targets += [each, *[noise[(number * times + more) % len(noise)] for more in range(times)]]
    return targets


if __name__ == "__main__":
    main()
