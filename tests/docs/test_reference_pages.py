"""What the reference pages list is what the program has: metrics, outcomes, problems, operational events, calls."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hookline import circuit
from hookline.api import problem
from hookline.api.openapi import document
from hookline.api.operations import OPERATIONS
from hookline.clock import SystemClock
from hookline.dashboard.reference import shapes
from hookline.lifecycle import Reason
from hookline.model import OPERATIONAL_TYPES, InactiveReason, Policies
from hookline.telemetry import Telemetry

DOCS: Final = Path(__file__).parents[2] / "docs"


def rows(page: str, first: str) -> list[tuple[str, ...]]:
    """Return the rows of the table whose first column is headed `first`, cell by cell."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(tuple(cell.strip() for cell in line.strip("|").split(" | ")))
    return found


def telemetry() -> Telemetry:
    """Return the signals of a process that has done one of each thing."""
    found = Telemetry(clock=SystemClock())
    found.request_served(method="POST", route="/v1/events", status=202, seconds=0.1, request_id="r")
    found.watch_connections("database", "open", lambda: 1)
    return found


def test_the_metrics_page_lists_every_metric_with_its_kind_labels_and_meaning() -> None:
    exposed = set()
    for family in text_string_to_metric_families(telemetry().exposition().decode()):
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        name = f"`{family.name}{'_total' if family.type == 'counter' else ''}`"
        exposed.add((name, family.type, ", ".join(f"`{label}`" for label in labels), family.documentation))

    assert set(rows("metrics.md", "metric")) == {row for row in exposed if row[0].startswith("`hookline_")}


def test_the_metrics_page_lists_every_outcome() -> None:
    outcomes = set(re.findall(r'hookline_attempts_total\{outcome="(\w+)"\}', telemetry().exposition().decode()))

    assert {cells[0].strip("`") for cells in rows("metrics.md", "outcome")} == outcomes


def test_the_errors_page_lists_every_kind_of_refusal() -> None:
    documented = {cells[:3] for cells in rows("errors.md", "status")}

    assert documented == {
        (str(kind.status), f"`{problem.TYPE_PREFIX}{kind.slug}`", kind.title) for kind in problem.KINDS
    }


def test_the_page_on_operational_events_lists_each_with_its_reasons() -> None:
    documented = {cells[0].strip("`"): cells[-1] for cells in rows("operational-events.md", "event type")}

    assert set(documented) == set(OPERATIONAL_TYPES)
    for change, reason in circuit.REASONS.items():
        assert documented[change] == reason
    named = {event_type: set(re.findall(r"`(\w+)`:", text)) for event_type, text in documented.items()}
    assert named[circuit.Change.DEACTIVATED] == set(InactiveReason) - {InactiveReason.PAUSED}
    assert named[circuit.DEAD] == set(Reason) - {Reason.DELETED, Reason.ERASED}, "those two are cancelled, not dead"


def test_the_page_on_subscribing_lists_every_member_with_its_default() -> None:
    """Of the members that may be left out; `callbackUrl` may not."""
    documented = {
        name: cells[1] for cells in rows("subscribing.md", "member") for name in re.findall(r"`(\w+)`", cells[0])
    }
    made = {shape.name: shape for shape in shapes(document())}
    members = [*made["NewSubscription"].members, *made["NewSubscriptionOfVersion2"].members]

    assert set(documented) == {member.name for member in members if not member.is_required}
    policies = Policies()
    assert documented["timeoutSeconds"] == str(policies.timeout_seconds)
    assert documented["maxInFlight"] == str(policies.max_in_flight)
    assert documented["ordered"] == str(policies.ordered).lower()


def test_the_api_page_lists_every_call(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    subprocess.run([sys.executable, DOCS / "api.py", tmp_path], check=True)
    found = re.findall(
        r'^### <span class="method">(\w+)</span> `(\S+)`',
        (tmp_path / "build" / "docs" / "reference.md").read_text(),
        re.MULTILINE,
    )

    assert sorted(found) == sorted(OPERATIONS)


@pytest.mark.parametrize("planted", ["| `hookline_nothing` | gauge |  | Nothing. |", ""])
def test_a_row_too_many_or_too_few_is_noticed(planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    row = re.search(r"^\| `hookline_build_info`.*$", page, re.MULTILINE)
    assert row is not None
    (tmp_path / "metrics.md").write_text(page.replace(row[0] + "\n", planted and f"{row[0]}\n{planted}\n"), "utf-8")
    monkeypatch.setattr(sys.modules[__name__], "DOCS", tmp_path)
    with pytest.raises(AssertionError):
        test_the_metrics_page_lists_every_metric_with_its_kind_labels_and_meaning()
