import os
import pty
from contextlib import closing
from typing import Any

import pytest

from hookline.cli.console import console
from hookline.cli.deliveries import log_table

LOST: dict[str, Any] = {
    "createdAt": "2026-11-24T11:03:27.639Z",
    "eventId": "evt_01m86kk5mah721t4zeajc5jmne",
    "eventType": "collaboration-request.created",
    "attemptNumber": 1,
    "success": False,
    "httpStatus": 503,
    "error": "status",
    "durationMs": 8,
    "deadLettered": False,
    "nextAttemptAt": "2026-11-24T11:03:38.384Z",
}


def test_narrow_terminal_cuts_nothing_off_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    with closing(os.fdopen(ours, "rb", buffering=0)), os.fdopen(theirs, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        terminal = console()
        assert terminal.is_terminal
        with terminal.capture() as capture:
            terminal.print(log_table([LOST]))

    row = capture.get().splitlines()[1]
    assert "evt_01m86kk5mah721t4zeajc5jmne" in row
    assert "collaboration-request.created" in row
    assert "✗ 503" in row
    assert "8\N{NO-BREAK SPACE}ms" in row
