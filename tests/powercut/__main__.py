"""Cut the power as often as asked: `python -m powercut --images 100000`, or one cut `--again 7:1234:56`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from powercut.cutting import IMAGES_PER_RUN, Cut, Report, again, cut_run


def main(arguments: Sequence[str]) -> int:
    """Run; return 1 where anything was lost."""
    parser = argparse.ArgumentParser(prog="powercut", description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1_000, help="of the first run; the others count on from it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="FULL", help="NORMAL must lose something")
    parser.add_argument("--again", type=Cut.read, help="one cut, as a finding names it")
    asked = parser.parse_args(arguments)
    if asked.again:
        finding = again(asked.again)
        print(finding if finding.wrong else f"power cut {asked.again}: nothing is lost")
        return bool(finding.wrong)
    started_at = time.monotonic()
    report = Report()
    runs = -(-asked.images // IMAGES_PER_RUN)
    with ProcessPoolExecutor(asked.processes) as pool:
        work = [
            pool.submit(cut_run, seed, IMAGES_PER_RUN, synchronous=asked.synchronous)
            for seed in range(asked.seed, asked.seed + runs)
        ]
        for done, future in enumerate(as_completed(work), 1):
            part = future.result()
            report.add(part)
            for finding in part.findings:
                print(finding)
            print(f"{done} of {runs} runs: {report.images:,} images, {len(report.findings)} findings", flush=True)
    print(f"seeds {asked.seed} to {asked.seed + runs - 1}, {time.monotonic() - started_at:.0f} s")
    print(f"{report.images:,} different images, {report.thorough:,} of them checked page by page")
    for title, counts in (("lost", report.losses), ("not yet synced", report.struck)):
        print(f"{title}: {', '.join(f'{name} {count:,}' for name, count in sorted(counts.items()))}")
    return bool(report.findings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
