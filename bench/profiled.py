"""Run `hookline` while a thread samples the stacks of all others: `profiled.py FILE serve …`.

At the end FILE holds, for each thread, its CPU time, the share of samples in which each function was running itself,
and the share in which it was anywhere on the stack. Code in C counts for the Python function that called it; the event
loop's own waiting shows as its runner.
"""

import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import FrameType
from typing import Final

INTERVAL_SECONDS: Final = 0.002
SHOWN: Final = 45


class Sampler(threading.Thread):
    """Takes samples until the process ends."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: Counter[str] = Counter()
        self.alone: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.within: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def run(self) -> None:
        while True:
            time.sleep(INTERVAL_SECONDS)
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for identifier, frame in sys._current_frames().items():  # noqa: SLF001 - made for exactly this
                if identifier != self.ident:
                    self._note(names.get(identifier, "?"), frame)

    def _note(self, thread: str, frame: FrameType | None) -> None:
        self.samples[thread] += 1
        self.alone[thread][_where(frame)] += 1
        seen = set()
        while frame is not None:
            seen.add(_where(frame))
            frame = frame.f_back
        self.within[thread].update(seen)

    def report(self) -> str:
        """Lay out what was sampled."""
        lines = []
        for thread, samples in self.samples.most_common():
            for title, counter in (("alone", self.alone[thread]), ("within", self.within[thread])):
                lines.append(f"\n{thread}: {title}, {samples} samples")
                lines += [f"  {100 * count / samples:5.1f} %  {where}" for where, count in counter.most_common(SHOWN)]
        return "\n".join(lines) + "\n"


def _where(frame: FrameType | None) -> str:
    if frame is None:
        return "?"
    code = frame.f_code
    return f"{code.co_qualname}  {'/'.join(Path(code.co_filename).parts[-2:])}"


def main() -> None:
    """Run the command line under the sampler."""
    target = Path(sys.argv.pop(1))
    sampler = Sampler()
    sampler.start()
    from hookline.cli.main import main as hookline  # noqa: PLC0415 - what it imports is sampled too

    try:
        hookline()
    finally:
        target.write_text(sampler.report())


if __name__ == "__main__":
    main()
