"""The nodes on their page: who works, who claims nothing, who is silent."""

import pytest

from api.loopback import Server
from dashboard.browsing import Browser
from hookline.dashboard import nodes
from hookline.storage.views import Node

NOW = 1_767_268_800_000


def a_node(**changes: object) -> Node:
    facts = {
        "id": "a",
        "name": "node-1:8080",
        "version": "1.2.3",
        "roles": ("api", "engine"),
        "started_at": NOW - 90_000_000,
        "seen_at": NOW - 2_000,
        "skew_ms": 2,
        "in_flight": 86,
        "max_in_flight": 1_000,
        "attempts_per_second": 6.1,
        "since_claim_ms": 200,
    }
    return Node(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (a_node(), nodes.WORKING),
        (a_node(roles=("api",), max_in_flight=0, since_claim_ms=None), nodes.SERVING),
        (a_node(since_claim_ms=60_000), nodes.STUCK),
        (a_node(since_claim_ms=None), nodes.STUCK),
        (a_node(since_claim_ms=60_000, in_flight=1_000), nodes.WORKING),
        (a_node(seen_at=NOW - 31_000), nodes.SILENT),
    ],
)
def test_a_node_is_judged_by_what_it_said_last(node: Node, expected: object) -> None:
    assert nodes._row(node, NOW).mark is expected


def test_the_title_says_who_is_there() -> None:
    working, silent, stuck = (
        nodes._row(each, NOW) for each in (a_node(), a_node(seen_at=0), a_node(since_claim_ms=None))
    )
    assert nodes.title([]) == "No node delivers"
    assert nodes.title([working]) == "1 node delivers"
    assert nodes.title([working, working, silent, stuck]) == "2 nodes deliver, 1 claims nothing and 1 is silent"


def test_clocks_that_differ_are_told() -> None:
    assert nodes.clocks([nodes._row(a_node(), NOW)]) == "Clocks agree with the database within 2\u00a0ms"
    assert nodes.clocks([nodes._row(a_node(skew_ms=-9_000), NOW)]).endswith("set the clock of the node that differs")
    assert nodes.clocks([]) == ""


def test_the_page_is_for_the_operator_alone(operator: Browser, member: Browser, server: Server) -> None:
    assert "No node was seen yet" in operator.see("/nodes").text
    member.see("/nodes", 404)
    assert server.call("GET", "/nodes", token=None).status == 303
