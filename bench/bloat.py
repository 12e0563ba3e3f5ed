"""Measure what an old snapshot costs on PostgreSQL: deliveries go through while a transaction from before is open.

Vacuum may then remove nothing that died since. The storage alone, through its protocol, on a server of its own; printed
are the time of a claim of 100 rows and the size of `deliveries` with its indexes: at first, with the snapshot open, and
after it is gone and the table is vacuumed.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import asyncpg

from claim import Bench
from hookline.storage.postgres import PostgresStorage
from service import percentile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from postgres_server import running_server

ROUNDS: Final = 20
"""Of which each figure is the median."""


async def rounds(bench: Bench, count: int) -> float:
    """Give each subscription an event, claim and settle it, so often; return the median claim in milliseconds."""
    claims = [claim[0] for _ in range(count) for claim in await bench.round()]
    return percentile(sorted(claims), 0.5)


async def measure(url: str, deliveries: int) -> dict[str, Any]:
    """Run the three parts."""
    storage = PostgresStorage(url)
    await storage.open()
    bench = Bench(storage)
    await bench.prepare(0)
    watching, old = await asyncpg.connect(url), await asyncpg.connect(url)
    figures: dict[str, Any] = {}

    async def note(when: str) -> None:
        figures[f"{when}_claim_ms"] = await rounds(bench, ROUNDS)
        figures[f"{when}_table_kb"] = await watching.fetchval("SELECT pg_table_size('deliveries') / 1024")
        figures[f"{when}_indexes_kb"] = await watching.fetchval("SELECT pg_indexes_size('deliveries') / 1024")

    await rounds(bench, ROUNDS)
    await note("at_first")
    async with old.transaction(isolation="repeatable_read"):
        await old.execute("SELECT FROM deliveries LIMIT 1")
        begun = time.perf_counter()
        await rounds(bench, deliveries // 100)
        figures["deliveries_per_second"] = deliveries / (time.perf_counter() - begun)
        await note("snapshot_open")
    begun = time.perf_counter()
    await watching.execute("VACUUM deliveries")
    figures["vacuum_ms"] = (time.perf_counter() - begun) * 1000
    await note("vacuumed")
    await watching.close()
    await old.close()
    await storage.close()
    return figures


def main() -> None:
    """Measure as the arguments say, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--deliveries", type=int, default=50_000, help="that go through meanwhile (50,000)")
    arguments = parser.parse_args()
    with running_server() as server:
        url = asyncio.run(server.new_database())
        figures = asyncio.run(measure(url, arguments.deliveries))
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
