"""The program of the page on publishing keeps what it promises, also while Hookline is away."""

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from e2e.harness import OPERATOR_TOKEN, Client, Server

DOCS: Final = Path(__file__).parents[2] / "docs"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with closing(Server(tmp_path, f"sqlite:///{tmp_path}/hookline.db").start()) as server:
        yield server


@pytest.fixture
def operator(server: Server) -> Iterator[Client]:
    with closing(server.client()) as operator:
        yield operator


@pytest.fixture
def program(server: Server, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("HOOKLINE_URL", server.url)
    monkeypatch.setenv("HOOKLINE_TOKEN", OPERATOR_TOKEN)
    found = importlib.util.spec_from_file_location("publish", DOCS / "samples" / "publish.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_outbox_survives_an_outage_and_counts_each_order_once(
    program: ModuleType, server: Server, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = operator.company()
    operator.made("PUT", "/v1/event-types/order.paid", {})
    with closing(sqlite3.connect(":memory:")) as orders:
        orders.executescript(program.SCHEMA)
        program.take_order(orders, "1", company, "12.50")
        waiting = orders.execute("SELECT event FROM outbox").fetchone()[0]
        assert program.is_published(waiting.encode()), "and its program dies before it forgets that"
        assert program.relay(orders) == 1
        server.stop()
        program.take_order(orders, "2", company, "1.10")
        program.take_order(orders, "3", company, "0.99")
        assert program.relay(orders) == 0, "and nothing is forgotten"
        server.start()
        monkeypatch.setattr(program, "URL", server.url)
        assert (program.relay(orders), program.relay(orders)) == (2, 0)
        with pytest.raises(sqlite3.IntegrityError):
            program.take_order(orders, "3", company, "0.99")
        assert program.relay(orders) == 0, "an order that was not written is not told"
    told = [event["id"] for event in operator.made("GET", "/v1/events")["items"]]
    assert told == ["order-3-paid", "order-2-paid", "order-1-paid"]


def test_an_event_that_is_refused_stops_the_outbox_with_the_reason(program: ModuleType, operator: Client) -> None:
    company = operator.company()
    with closing(sqlite3.connect(":memory:")) as orders:
        orders.executescript(program.SCHEMA)
        program.take_order(orders, "1", company, "12.50")
        with pytest.raises(RuntimeError, match=r"PUT /v1/event-types/order\.paid"):
            program.relay(orders)
