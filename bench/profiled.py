"""Run `hookline` under a sampling profiler: `profiled.py FILE serve …`.

A timer of the process's CPU time interrupts the main thread, which runs the event loop and nearly all of our Python.
A thread that looked at the others would see them only where they give the interpreter up, which is at their system
calls. At the end FILE holds the CPU time of the main thread and of all others, and for the main one the share of
samples in which each function was running itself, and in which it was anywhere on the stack. Code in C counts for the
Python function that called it; samples in the loop's runner are the loop's own C code, or another thread's CPU time
while this one waits.
"""

import os
import signal
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

INTERVAL_SECONDS: Final = 0.002
SHOWN: Final = 70
TICKS: Final = os.sysconf("SC_CLK_TCK")


class Sampler:
    """Counts where the main thread is."""

    def __init__(self) -> None:
        self.alone: Counter[str] = Counter()
        self.within: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to take samples."""
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)

    def stop(self) -> None:
        """Take no more."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def report(self) -> str:
        """Lay out what was sampled."""
        main, whole = _main_thread_cpu(), sum(os.times()[:2])
        lines = [f"CPU: main thread {main:.2f} s, all others {whole - main:.2f} s"]
        samples = max(1, self.alone.total())
        for title, counter in (("alone", self.alone), ("within", self.within)):
            lines.append(f"\nmain thread, {title}: {samples} samples")
            lines += [f"  {100 * count / samples:5.1f} %  {where}" for where, count in counter.most_common(SHOWN)]
        return "\n".join(lines) + "\n"

    def _note(self, _: int, frame: FrameType | None) -> None:
        if frame is not None:
            self.alone[_shown(frame.f_code)] += 1
        seen = set()
        while frame is not None:
            seen.add(_shown(frame.f_code))
            frame = frame.f_back
        self.within.update(seen)


@cache
def _shown(code: CodeType) -> str:
    return f"{code.co_qualname}  {'/'.join(code.co_filename.split('/')[-2:])}"


def _main_thread_cpu() -> float:
    fields = Path(f"/proc/self/task/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> None:
    """Run the command line under the sampler."""
    target = Path(sys.argv.pop(1))
    from hookline.cli.main import main as hookline  # noqa: PLC0415 - importing is no part of what is measured

    sampler = Sampler()
    sampler.start()
    try:
        hookline()
    finally:
        sampler.stop()
        target.write_text(sampler.report())


if __name__ == "__main__":
    main()
