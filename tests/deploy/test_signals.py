"""The dashboard and the alerts ask for metrics that exist, by labels they have; every alert says what to do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hookline.clock import SystemClock
from hookline.telemetry import Telemetry

ROOT: Final = Path(__file__).parents[2]
RULES: Final = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
DASHBOARD: Final = json.loads((ROOT / "deploy/grafana/hookline.json").read_text(encoding="utf-8"))
PAGE: Final = (ROOT / "docs/alerts.md").read_text(encoding="utf-8")
SELECTOR: Final = re.compile(r"\b((?:hookline|process)_\w+)\s*(?:\{([^}]*)\})?")
MATCHER: Final = re.compile(r'(\w+)(=~|!=|!~|=)"([^"]*)"')
OF_SCRAPES: Final = {"job", "instance"}


def known() -> dict[str, dict[str, set[str]]]:
    """Every series of a process that has done one of each thing: names, their labels, and the labels' values."""
    telemetry = Telemetry(clock=SystemClock())
    for route, status in (("/v1/events", 202), ("/v1/events/batch", 503), ("none", 404)):
        telemetry.request_served(method="POST", route=route, status=status, seconds=0.1, request_id="r")
    for pool, state in (("database", "open"), ("database", "idle"), ("egress", "idle")):
        telemetry.watch_connections(pool, state, lambda: 1)
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(telemetry.exposition().decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


KNOWN: Final = known()


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def wrong(expression: str) -> list[str]:
    """What an expression asks for that no process of ours has."""
    problems = [] if expression.count("(") == expression.count(")") else ["parentheses"]
    for name, matchers in SELECTOR.findall(expression):
        if name not in KNOWN:
            problems.append(name)
            continue
        for label, operator, value in MATCHER.findall(matchers):
            if label in OF_SCRAPES:
                continue
            values = value.split("|") if "~" in operator else [value]
            if label not in KNOWN[name] or not set(values) <= KNOWN[name][label]:
                problems.append(f"{name}{{{label}}}")
    return problems


@pytest.mark.parametrize(("what", "expression"), list(expressions()))
def test_only_series_that_exist_are_asked_for(what: str, expression: str) -> None:
    assert SELECTOR.search(expression) or "up{" in expression, what
    assert wrong(expression) == []


@pytest.mark.parametrize(
    "expression",
    ["sum(hookline_nothing)", 'hookline_attempts_total{outcome="success"}', 'hookline_deliveries_open{x="1"}', "max(("],
)
def test_a_planted_slip_is_found(expression: str) -> None:
    assert wrong(expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    section = re.search(rf"^## {rule['alert']}\n\n(.*?)(?=\n## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/alerts.md has no section {rule['alert']}"
    assert " ".join(section[1].split()).endswith(rule["annotations"]["description"])


def test_the_page_describes_no_alert_that_is_gone() -> None:
    assert re.findall(r"^## (\w+)$", PAGE, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    """What nobody looks at need not be measured."""
    asked = " ".join(expression for _, expression in expressions())
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in KNOWN if name.startswith("hookline_")}
    assert {name for name in families if name not in asked} == set()


def test_panels_lie_beside_each_other_and_not_upon() -> None:
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert all(x < 24 for x, _ in taken)
