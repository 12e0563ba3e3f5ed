"""The executable, run as its users run it."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue

PATIENCE_SECONDS = 30
PROGRAM = [sys.executable, "-m", "hookline"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}


class Running:
    """A process of ours whose standard output is read line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> str:
        """Return the first line that holds the text, from what was not waited over yet."""
        while True:
            try:
                line = self._queue.get(timeout=PATIENCE_SECONDS)
            except Empty:
                break
            self.lines.append(line)
            if text in line:
                return line
            if not line:
                break
        raise AssertionError(f"{text!r} did not come, but: {''.join(self.lines)}")

    def say(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask the process, and what it started, to end; return its exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        """End the process and read what it still said."""
        self.end()
        self._reader.join(PATIENCE_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put("")


class Workplace:
    """A directory to run commands in."""

    def __init__(self, path: Path) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A script started us in the background; whatever we start would ignore Ctrl-C as we do.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.path = path
        self.running: list[Running] = []

    def start(self, *arguments: str, **environment: str) -> Running:
        """Start a command; it is ended with the workplace."""
        return self._start([*PROGRAM, *arguments], {"HOOKLINE_DRAIN_SECONDS": "0", **environment})

    def shell(self, script: str) -> Running:
        """Start a script as it would be pasted; it ends at the first command that fails."""
        return self._start(["bash", "-c", f"set -e\n{script}"], {"PYTHONUNBUFFERED": "1"})

    def serve(self) -> Running:
        """Start a development server on a free port; return once it accepts requests."""
        running = self.start("serve", "--dev", "--port", "0", HOOKLINE_RETRY_DELAYS_SECONDS="1,1,1")
        running.wait_for("hookline ready on http://127.0.0.1:")
        return running

    def run(self, *arguments: str, stdin: str | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.path,
            env={**CLEAN, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def close(self) -> None:
        """End what still runs."""
        for each in reversed(self.running):
            each.close()

    def _start(self, command: list[str], environment: dict[str, str]) -> Running:
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env={**CLEAN, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(Running(process))
        return self.running[-1]
