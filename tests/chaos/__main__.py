"""The long run: `make chaos CYCLES=1000 CRASHES=200`. Deaths of nodes on both engines, crashes of PostgreSQL, one book.

It goes in rounds, each on a database of its own: so many deaths or crashes under load, then the books must balance.
Each round that did is a line of the account file; a run that was ended goes on from there, and the whole is bounded by
what was asked for. Ends with the table for docs/reliability.md, at the first round that does not balance with its seed.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from .books import Account, balanced
from .kills import AT_RANDOM, POINTS, killed
from .load import World
from .stage import ENGINES, Stage

KILLS_A_ROUND = 10
CRASHES_A_ROUND = 5
AWAY_SECONDS_MAX = 1.0
BACK_SECONDS = 10.0
"""Within which events must be delivered again after a crash."""


@dataclass
class Round:
    """What is noted of a round that balanced."""

    fault: str
    count: int
    seconds: float
    deaths: dict[str, int]
    """How many at each point."""
    account: Account


def main() -> None:
    """Read what is asked for, and do what the account file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=100, help="deaths of nodes, half of them on each engine")
    parser.add_argument("--crashes", type=int, default=20, help="immediate stops of PostgreSQL")
    parser.add_argument("--account", type=Path, default=Path("chaos.jsonl"), help="where finished rounds are noted")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; the same command goes on from here"))
    wanted = {f"kill -9, {engine}": asked.cycles // len(ENGINES) for engine in ENGINES}
    wanted["PostgreSQL crash"] = asked.crashes
    rounds = read(asked.account)
    for fault, count in wanted.items():
        while (done := sum(each.count for each in rounds if each.fault == fault)) < count:
            finished = played(fault, min(count - done, KILLS_A_ROUND if "kill" in fault else CRASHES_A_ROUND), done)
            rounds.append(finished)
            with asked.account.open("a") as file:
                file.write(json.dumps(asdict(finished)) + "\n")
            say(f"{fault}: {done + finished.count} of {count}, {finished.seconds:.0f} s, {finished.account}")
    say(table(rounds))


def read(path: Path) -> list[Round]:
    """Return the rounds that an account file holds."""
    noted = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [Round(**{**each, "account": Account(**each["account"])}) for each in noted]


def played(fault: str, count: int, seed: int) -> Round:
    """Play one round; return what is noted of it."""
    begun_at = time.monotonic()
    moments = Random(f"{fault} {seed}")  # a text seeds alike on every run
    with tempfile.TemporaryDirectory(prefix="hookline-chaos-") as folder, Stage(Path(folder)) as stage:
        try:
            if fault == "PostgreSQL crash":
                account, deaths = crashed(stage, count, moments)
            else:
                engine = fault.rpartition(" ")[2]
                points = [moments.choice([AT_RANDOM, *POINTS[engine]]) for _ in range(count)]
                account, deaths = killed(stage, engine, points, moments)
        except AssertionError:
            say(f"{fault}: the round with seed {seed} does not balance")
            raise
    return Round(fault, count, time.monotonic() - begun_at, deaths, account)


def crashed(stage: Stage, count: int, moments: Random) -> tuple[Account, dict[str, int]]:
    """Crash PostgreSQL so often under the load of one node; return the books, and the crashes by kind."""
    node = stage.node(stage.database("postgres")).start()
    operator = stage.client(node)
    world = World.made(operator, stage.receiver())
    receiver = world.receiver
    with world.load([node]):
        for _ in range(count):
            receiver.wait_for_total(len(receiver.arrivals) + moments.randint(1, 200))
            stage.cluster.crash()
            away_until = time.monotonic() + moments.uniform(0, AWAY_SECONDS_MAX)
            while time.monotonic() < away_until:
                time.sleep(0.01)
            stage.cluster.start()
            before = len(receiver.arrivals)
            receiver.wait(lambda arrivals: len(arrivals) > before, "delivered again", BACK_SECONDS)  # noqa: B023
    account = balanced(operator, world)
    assert account.repeated == 0, f"a crash of PostgreSQL alone made something arrive twice: {account}"
    return account, {"SIGQUIT": count}


# --- what is shown ---------------------------------------------------------------------------------------------------


def table(rounds: list[Round]) -> str:
    """Return the account as a table in Markdown."""
    head = ["fault", "times", "events accepted", "deliveries", "requests", "attempts lost", "arrived twice"]
    head += ["longest until made again"]
    lines = [head, ["---"] * len(head)]
    deaths: Counter[str] = Counter()
    for fault in dict.fromkeys(each.fault for each in rounds):
        total, times = Account(), 0
        for each in rounds:
            if each.fault == fault:
                total.add(each.account)
                times += each.count
                deaths.update(each.deaths)
        numbers = (times, total.events, total.deliveries, total.requests, total.lost, total.repeated)
        lines.append([fault, *(f"{number:,}" for number in numbers), f"{total.longest_seconds:.1f} s"])
    by_point = ", ".join(f"{point} {count}" for point, count in sorted(deaths.items()))
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", f"By point: {by_point}."])


def say(text: str) -> None:
    """Print at once: somebody is watching."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
