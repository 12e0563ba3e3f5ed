"""A server for a while: a real process on a free port with a database that is thrown away."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hookline.cli.failure import Failure
from hookline.cli.target import Target, local_server

START_SECONDS = 15


@contextmanager
def server(folder: Path) -> Iterator[Target]:
    """Run a development server on a free port and a new database; end it with the context."""
    database = f"sqlite:///{folder / 'temporary.db'}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HOOKLINE_")}
    log = folder / "server.log"  # not a pipe, which nobody would empty
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(  # noqa: S603 - ourselves, with fixed arguments
            [sys.executable, "-m", "hookline", "serve", "--dev", "--port", "0", "--database", database],
            env={**environment, "HOOKLINE_DRAIN_SECONDS": "0"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    try:
        first = process.stdout.readline() if process.stdout else ""
        local = local_server(database)
        if not first.startswith("hookline ready on ") or local is None:
            process.kill()
            raise Failure(f"the server did not start: {log.read_text(encoding='utf-8').strip()[-2000:]}")
        yield local
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
