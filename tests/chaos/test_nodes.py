"""Many nodes on one PostgreSQL: what one says, all know; nodes come and go, and nobody notices but the operator."""

import time

from e2e.harness import Client, Server, until
from e2e.receiver import Receiver

from .books import balanced
from .load import World
from .stage import LEASE_SECONDS, Stage

TOLD_SECONDS = 1.0
"""Within which every node knows of a revocation."""
ROUNDS = 10
KILLS = 2
KILL_SECONDS = 2.0
RECOVERED_SECONDS = 5.0
"""After the lease of what a dead node had."""


def nodes_of(stage: Stage, database: str, roles: str, count: int = 2, **environment: str) -> list[Server]:
    """Start nodes on one database."""
    nodes = [stage.node(database, HOOKLINE_ROLES=roles, **environment) for _ in range(count)]
    for node in nodes:
        node.launch()
    for node in nodes:
        assert node.is_ready(30), node.log
    return nodes


def test_what_one_node_answers_holds_on_all_nodes(stage: Stage, receiver: Receiver) -> None:
    database = stage.database("postgres")
    nodes = nodes_of(stage, database, "api")
    nodes_of(stage, database, "engine")
    here, there = (stage.client(node) for node in nodes)
    company = here.company()
    body = {"callbackUrl": receiver.url("/all-nodes"), "maxInFlight": 50}
    for _ in range(ROUNDS):
        here, there = there, here
        made = here.made("POST", f"/v1/webhooks?companyId={company}", body)["id"]
        path = f"/v1/webhooks/{made}"
        assert made in [each["id"] for each in there.made("GET", f"/v1/webhooks?companyId={company}")]
        assert deliveries_of(there, company) == 1, "published on another node right after it was made"
        here.made("PATCH", path, {"eventTypes": ["collaboration-request.created"]})
        assert there.made("GET", path)["eventTypes"] == ["collaboration-request.created"]
        assert deliveries_of(there, company) == 0, "published on another node right after it was changed"
        here.made("DELETE", path)
        assert there.call("GET", path).status == 404
        assert deliveries_of(there, company) == 0, "published on another node right after it was deleted"


def test_a_revoked_token_opens_no_node_after_a_second(stage: Stage) -> None:
    nodes = nodes_of(stage, stage.database("postgres"), "api")
    here, there = (stage.client(node) for node in nodes)
    company = here.company()
    for _ in range(3):
        here, there = there, here
        made = here.made("POST", f"/v1/companies/{company}/tokens", {"name": "test", "role": "member"})
        members = [client.as_(made["token"]) for client in (here, there)]
        for member in members:
            assert member.call("GET", "/v1/webhooks").status == 200
        here.made("DELETE", f"/v1/companies/{company}/tokens/{made['id']}")
        for member in members:
            until(lambda: member.call("GET", "/v1/webhooks").status == 401, "it is refused", TOLD_SECONDS)  # noqa: B023
            assert member.call("GET", "/v1/webhooks").status == 401


def test_after_a_pause_or_a_delete_on_one_node_no_node_starts_an_attempt(stage: Stage, receiver: Receiver) -> None:
    database = stage.database("postgres")
    nodes = nodes_of(stage, database, "api")
    nodes_of(stage, database, "engine", CHAOS_START_SECONDS="0.2")
    operator, other = (stage.client(node) for node in nodes)
    world = World.made(operator, receiver)
    ended: list[tuple[str, float]] = []
    passing = [world.subscribed(operator, world.companies[0], "passing", f"-{number}") for number in range(4)]
    world.subscriptions += passing
    with world.load(nodes):
        for number, each in enumerate(passing):
            receiver.wait_at(each.path, 20)
            if number % 2:
                other.made("PATCH", f"/v1/webhooks/{each.id}", {"active": False})
                ended.append((each.path, time.monotonic()))
                receiver.wait_for_total(len(receiver.arrivals) + 200)
            world.delete(other, each)
        receiver.wait_for_total(len(receiver.arrivals) + 200)
    for path, ended_at in ended:
        assert not [arrival for arrival in receiver.at(path) if arrival.at > ended_at], "sent after the pause"
    account = balanced(operator, world)
    assert account.repeated == account.lost == 0


def test_a_rolling_restart_fails_no_publish(stage: Stage, receiver: Receiver) -> None:
    database = stage.database("postgres")
    nodes = nodes_of(stage, database, "api,engine", HOOKLINE_DRAIN_SECONDS="1")
    balancer = stage.balancer(nodes)
    until(lambda: len(balancer.ready) == 2, "both are ready")
    operator = stage.client(nodes[0])
    world = World.made(operator, receiver)
    with world.load([balancer]):
        for node in nodes:
            receiver.wait_for_total(len(receiver.arrivals) + 50)
            assert node.stop() == 0
            node.start()
            until(lambda: len(balancer.ready) == 2, "both are ready again")
    assert sum(publisher.unanswered + publisher.refused for publisher in world.publishers) == 0
    account = balanced(operator, world)
    assert account.repeated == account.lost == 0


def test_engines_that_are_killed_again_and_again_lose_nothing_and_are_made_up_for_in_time(
    stage: Stage, receiver: Receiver
) -> None:
    database = stage.database("postgres")
    nodes = nodes_of(stage, database, "api")
    engines = nodes_of(stage, database, "engine")
    operator = stage.client(nodes[0])
    world = World.made(operator, receiver)
    with world.load(nodes):
        for number in range(KILLS):
            pause(KILL_SECONDS, receiver)
            engine = engines[number % 2]
            with world.fault():
                engine.kill()
            engine.start()
    account = balanced(operator, world)
    assert account.lost > 0
    assert account.longest_seconds < LEASE_SECONDS + RECOVERED_SECONDS
    assert sum(publisher.unanswered + publisher.refused for publisher in world.publishers) == 0


def pause(seconds: float, receiver: Receiver) -> None:
    """Let events flow for a while."""
    over_at = time.monotonic() + seconds
    receiver.wait(lambda arrivals: bool(arrivals) and arrivals[-1].at > over_at, "events flow")


def deliveries_of(client: Client, company: int) -> int:
    """Publish an event; return how many deliveries it has."""
    body = {"eventType": "note.created", "companyIds": [company], "data": {}}
    count: int = client.made("POST", "/v1/events", body)["deliveries"]
    return count
