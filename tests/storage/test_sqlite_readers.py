"""Slow readings of one company hold up nobody's tokens."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest
from sqlite_samples import HandClock, run

from hookline.storage.sqlite import SqliteStorage, log
from hookline.storage.views import EventQuery


def test_slow_pages_hold_up_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    are_read = threading.Event()

    def slow(_connection: apsw.Connection, _query: Any) -> tuple[()]:
        assert are_read.wait(20)
        return ()

    monkeypatch.setattr(log, "events", slow)

    async def scenario() -> None:
        storage = SqliteStorage(str(tmp_path / "h.db"), clock=HandClock())
        await storage.open()
        pages = [asyncio.create_task(storage.events(EventQuery(limit=1))) for _ in range(20)]
        try:
            async with asyncio.timeout(10):
                assert await storage.change_counter() >= 1
                assert await storage.token_by_hash(bytes(32)) is None
                assert (await storage.catalogue()).revision >= 1
                assert not await storage.has_fresh_claims(1, 3_000)
            assert not any(page.done() for page in pages)
        finally:
            are_read.set()
            await asyncio.gather(*pages)
            await storage.close()

    run(scenario)
