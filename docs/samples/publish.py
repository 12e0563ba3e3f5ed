"""Publish from a program of one's own: an order and the word of it are kept together, and each event counts once.

It needs Python's standard library and nothing else. SQLite stands here for whatever database the program has.
"""

import json
import os
import sqlite3
import time
import urllib.error
import urllib.request

URL = os.environ["HOOKLINE_URL"]
TOKEN = os.environ["HOOKLINE_TOKEN"]  # of the role `publisher`
TRANSIENT = {408, 429, 500, 502, 503, 504}
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, company_id INTEGER, total TEXT);
CREATE TABLE IF NOT EXISTS outbox (position INTEGER PRIMARY KEY, event TEXT NOT NULL);
"""


def take_order(database: sqlite3.Connection, order_id: str, company_id: int, total: str) -> None:
    """Write the order and its event in one transaction: either both are there or neither."""
    event = {
        "id": f"order-{order_id}-paid",  # the same whenever it is sent again, so it counts once
        "eventType": "order.paid",
        "companyIds": [company_id],
        "data": {"orderId": order_id, "total": total},
    }
    with database:
        database.execute("INSERT INTO orders VALUES (?, ?, ?)", (order_id, company_id, total))
        database.execute("INSERT INTO outbox (event) VALUES (?)", (json.dumps(event),))


def relay(database: sqlite3.Connection) -> int:
    """Publish what waits, oldest first, and forget each once Hookline has it; return how many. Run it in a loop."""
    done = 0
    rows = database.execute("SELECT position, event FROM outbox ORDER BY position LIMIT 100").fetchall()
    for position, event in rows:
        if not is_published(event.encode()):
            break  # and ask again later: what is sent twice under one id counts once
        with database:
            database.execute("DELETE FROM outbox WHERE position = ?", (position,))
        done += 1
    return done


def is_published(event: bytes) -> bool:
    """Publish one event; tell whether it is on disk over there, so that it can be forgotten here."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}/v1/events", event, headers)
    try:
        with urllib.request.urlopen(request, timeout=30):
            return True
    except urllib.error.HTTPError as error:
        if error.code in TRANSIENT:
            return False
        raise RuntimeError(f"Hookline refuses this event: {error.read().decode()}") from error
    except OSError:  # no connection, or no answer: it may be there or not
        return False


if __name__ == "__main__":
    orders = sqlite3.connect("orders.db")
    orders.executescript(SCHEMA)
    while True:
        if not relay(orders):
            time.sleep(1)
