"""Every statement of the engine names the bucket of each table that grows, so that it could be spread over nodes."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping

import pytest

from hookline.storage import postgres
from hookline.storage.migrate import migrations
from hookline.storage.postgres import log
from hookline.storage.postgres.days import KEYS

GROWING = frozenset(
    re.findall(
        r"^CREATE TABLE (\w+) \(\n(?:(?!^\)).*\n)*\)[^;]*;[^\n]*\n-- distribute: bucket$",
        "".join(migration.sql for migration in migrations("postgres")),
        re.MULTILINE,
    )
)

LOOKS = {
    "subscriptions._BY_ID": "an id alone does not tell its bucket; a read",
    "subscriptions._OWNER": "an id alone does not tell its bucket; a read",
    "subscriptions._EXISTS": "whether an id is given anywhere; a read",
    "replaying._READ": "an id alone does not tell its bucket; a read",
    "replaying._SUBSCRIPTIONS": "whose a replay over all is; a read",
    "upkeep._BACKLOG": "a count over all nodes, in no transaction that writes",
    "log._EVENT": "a beginning, to which `_Conditions` adds the bucket first",
    "log._PAGE": "a frame, likewise",
    "days._CARRY": "whole rows, with the bucket among their columns",
}
"""Statements that may look everywhere, and why."""

_TABLE = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO|USING)\s+(\w+)(?:\s+AS\s+(\w+))?")
_BUCKET = re.compile(r"(?:(\w+)\.)?bucket = (?:any\(\$|\$)")


def statements() -> Iterator[tuple[str, str]]:
    """The statements that modules hold, alone or by table, with their names."""
    for module in pkgutil.iter_modules(postgres.__path__):
        for name, value in vars(importlib.import_module(f"{postgres.__name__}.{module.name}")).items():
            texts: Mapping[str, object] = value if isinstance(value, dict) else {"": value}
            for text in texts.values():
                if isinstance(text, str) and re.match(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)\b", text):
                    for table in KEYS if "{table}" in text else [""]:
                        yield f"{module.name}.{name}", text.replace("{table}", table)


def unnamed(sql: str) -> list[str]:
    """The tables that grow of which a statement reads or moves rows without naming their bucket.

    Rows that are inserted carry theirs.
    """
    read = [found for found in _TABLE.finditer(sql) if found[1] in GROWING and not found[0].startswith("INTO")]
    inserted = [found for found in _TABLE.finditer(sql) if found[1] in GROWING and found[0].startswith("INTO")]
    named = [found[1] for found in _BUCKET.finditer(sql)]
    missing = [found[1] for found in inserted if "bucket" not in sql[found.end() : sql.index(")", found.end())]]
    # A statement names a bucket as often as a table that grows, by the table's own name in it where it has one.
    for found in read:
        own = {found[1], found[2]} if found[2] else {found[1], None}
        if hit := next((name for name in named if name in own), "") or (None in named and not found[2]):
            named.remove(hit if isinstance(hit, str) else None)
        elif None in named:
            named.remove(None)
        else:
            missing.append(found[1])
    return missing


def test_the_tables_that_grow_are_known() -> None:
    assert {"lanes", "deliveries", "ended_deliveries", "attempts", "events", "recipients", "event_keys"} <= GROWING


def test_every_statement_names_the_bucket_of_each_table_that_grows() -> None:
    found = {name: missing for name, sql in statements() if (missing := unnamed(sql)) and name not in LOOKS}
    assert found == {}


def test_conditions_that_are_put_together_begin_with_the_bucket() -> None:
    begun = re.findall(r"_Conditions\((.*)", inspect.getsource(log))
    assert begun
    assert [text for text in begun if not re.match(r'"\w+\.bucket = any\(', text)] == []


def test_a_look_everywhere_is_one_that_needs_to_be() -> None:
    assert {name for name, sql in statements() if unnamed(sql)} == set(LOOKS)


@pytest.mark.parametrize(
    ("sql", "missing"),
    [
        ("SELECT 1 FROM deliveries WHERE id = $1", ["deliveries"]),
        ("SELECT 1 FROM deliveries WHERE bucket = any($1) AND id = $1", []),
        ("SELECT 1 FROM deliveries AS d JOIN lanes AS l ON l.bucket = d.bucket WHERE d.bucket = any($1)", ["lanes"]),
        ("SELECT 1 FROM deliveries AS d JOIN lanes AS l ON true WHERE d.bucket = $1 AND l.bucket = any($1)", []),
        ("INSERT INTO lanes (subscription_id) VALUES ($1)", ["lanes"]),
        ("INSERT INTO lanes (subscription_id, bucket) VALUES ($1, $2)", []),
        ("SELECT 1 FROM companies", []),
    ],
)
def test_a_statement_without_a_bucket_is_noticed(sql: str, missing: list[str]) -> None:
    assert unnamed(sql) == missing
