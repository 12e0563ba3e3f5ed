"""Play seeds: one with all that happens in it, or a range of them by all processors with a summary.

`python -m simulation 17` or `python -m simulation 0-100000`, from the folder `tests`.
"""

import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from simulation.marks import MARKS
from simulation.play import Stage

SEEDS_A_TASK = 500


def main(seeds: str) -> int:
    first, _, last = seeds.partition("-")
    return _play_many(int(first), int(last)) if last else _replay(int(first))


def _replay(seed: int) -> int:
    stage = Stage()
    result = stage.play(seed, print)
    stage.close()
    print(result.violation or "nothing was broken")
    return 1 if result.violation else 0


def _play_many(first: int, last: int) -> int:
    """Play the seeds from `first` up to `last`, `last` left out."""
    parts = [range(start, min(start + SEEDS_A_TASK, last)) for start in range(first, last, SEEDS_A_TASK)]
    marks: Counter[str] = Counter()
    broken: dict[int, str] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for its_marks, its_broken in pool.map(_played, parts):
            marks.update(its_marks)
            broken |= its_broken
    for name, count in sorted(marks.items()):
        print(f"{count:>10,}  {name}")
    for seed, violation in sorted(broken.items()):
        print(f"\nseed {seed}; to replay: make simulate SEEDS={seed}\n{violation}")
    never = ", ".join(sorted(MARKS - marks.keys())) or "none"
    print(f"\n{last - first:,} schedules, {len(broken)} broken; branches never taken: {never}")
    return 1 if broken else 0


def _played(seeds: range) -> tuple[Counter[str], dict[int, str]]:
    stage = Stage()
    marks: Counter[str] = Counter()
    broken = {}
    for seed in seeds:
        result = stage.play(seed)
        marks.update(result.marks)
        if result.violation:
            broken[seed] = result.violation
    stage.close()
    return marks, broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
