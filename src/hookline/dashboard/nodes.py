"""Nodes: which processes work on this database, what each has in flight, and whether one has gone silent."""

from typing import Final, NamedTuple

from starlette.responses import Response

from hookline.dashboard import telling, words
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.frame import page
from hookline.storage.views import Node

SHOWN: Final = 100
SILENT_MS: Final = 30_000
"""Six beats: a node that is silent for so long has ended, hangs, or does not reach the database."""
STUCK_MS: Final = 15_000
"""An engine looks for due deliveries every second; one that got no answer for so long delivers nothing."""
SKEW_MS: Final = 2_000
"""Clocks that differ more make times on pages and in signatures hard to compare."""
WORKING: Final = telling.Mark("s-ok", "is-ok", "Working")
SERVING: Final = telling.Mark("s-ok", "is-ok", "Serving")
STUCK: Final = telling.Mark("s-failed", "is-dead", "Claims nothing")
SILENT: Final = telling.Mark("s-lost", "is-quiet", "Silent")


class Row(NamedTuple):
    """One node as its page tells it."""

    node: Node
    mark: telling.Mark
    advice: str
    rate: str


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the nodes."""
    found = await rows(dashboard)
    return page(visit, dashboard, "nodes.html", title=title(found), nodes=found, clocks=clocks(found))


async def rows(dashboard: Dashboard) -> list[Row]:
    """Read the nodes, those that need somebody first."""
    now = dashboard.clock.wall_ms()
    found = [_row(node, now) for node in await dashboard.storage.nodes(SHOWN)]
    return sorted(found, key=lambda row: (STUCK, WORKING, SERVING, SILENT).index(row.mark))


def _row(node: Node, now: int) -> Row:
    rate = f"{node.attempts_per_second:,.1f}"
    if now - node.seen_at > SILENT_MS:
        return Row(node, SILENT, "It ended without a word, hangs, or does not reach the database.", rate)
    if "engine" not in node.roles:
        return Row(node, SERVING, "", rate)
    if node.since_claim_ms is None or node.since_claim_ms > STUCK_MS:
        if node.in_flight >= node.max_in_flight:
            return Row(node, WORKING, "All its slots are taken.", rate)
        return Row(node, STUCK, "The database answers none of its claims: see its log.", rate)
    return Row(node, WORKING, "", rate)


def title(found: list[Row]) -> str:
    """Say in a sentence who is there."""
    alive = [row for row in found if row.mark is not SILENT]
    engines = [row for row in alive if row.mark is WORKING]
    silent, stuck = len(found) - len(alive), [row.mark for row in alive].count(STUCK)
    if not engines:
        return "No node delivers"
    said = [words.counted(len(engines), "node delivers", "nodes deliver")]
    if stuck:
        said.append(words.counted(stuck, "claims nothing", "claim nothing"))
    if silent:
        said.append(words.counted(silent, "is silent", "are silent"))
    return words.listed(said)


def clocks(found: list[Row]) -> str:
    """Say how well the clocks of those that live agree with the database's."""
    skews = [abs(row.node.skew_ms) for row in found if row.mark is not SILENT]
    if not skews:
        return ""
    agree = f"Clocks agree with the database within {words.span(max(skews))}"
    return agree if max(skews) < SKEW_MS else f"{agree}: set the clock of the node that differs"
