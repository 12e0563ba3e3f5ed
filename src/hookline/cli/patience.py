"""Looking at a server again and again, also while it is away for a moment: a restart ends nobody's watching."""

from collections.abc import Callable
from threading import Event
from typing import TypeVar

from hookline.cli.console import note
from hookline.cli.failure import EXIT_UNREACHED, Failure

Seen = TypeVar("Seen")


def patiently(look: Callable[[], Seen], interval_seconds: float) -> Seen:
    """Return what a look brings; where nobody answers say so once, and look until somebody does."""
    is_told = False
    while True:
        try:
            return look()
        except Failure as failure:
            if failure.exit_code != EXIT_UNREACHED:
                raise
            if not is_told:
                note(f"{failure} Looking again until it does; Ctrl-C ends.")
                is_told = True
        Event().wait(interval_seconds)
