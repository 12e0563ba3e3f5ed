"""PostgreSQL dies, comes back, stalls and resets: publishes are refused in time, nothing is lost, nothing repeated."""

import time
from urllib.parse import urlsplit

import pytest

from e2e.harness import until
from e2e.receiver import HANGS, OK, Receiver
from hookline.serving import UNCONFIRMED
from postgres_server import Cluster

from .books import balanced
from .load import World
from .proxy import Proxy
from .stage import Stage

REFUSED_SECONDS = 2.0
"""Within which a publish is answered while the database is away."""
RECOVERED_SECONDS = 5.0
STALL_SECONDS = 3.0
HANG_SECONDS = 20.0
"""The longest that any limit of ours lets a publish wait for a database that takes requests and answers none."""
SETTLING_SECONDS = 7
"""Of `SHORT_LEASE`: timeout, body and commit."""


def through(stage: Stage, cluster: Cluster, database_url: str) -> tuple[str, Proxy]:
    """Put a proxy before the server; return the address of the database through it."""
    proxy = stage.proxy(str(cluster.socket))
    return f"postgresql://postgres@127.0.0.1:{proxy.port}{urlsplit(database_url).path}", proxy


@pytest.mark.parametrize("how", ["crash", pytest.param("stop", marks=pytest.mark.thorough)])
def test_while_postgres_is_away_publishes_are_refused_in_time_and_then_go_on(
    stage: Stage, cluster: Cluster, receiver: Receiver, how: str
) -> None:
    node = stage.node(stage.database("postgres")).start()
    operator = stage.client(node)
    company = operator.company("Asks")
    world = World.made(operator, receiver)
    with world.load([node]):
        {"crash": cluster.crash, "stop": cluster.stop}[how]()
        for _ in range(3):
            asked_at = time.monotonic()
            answer = operator.call("POST", "/v1/events", event_for(company))
            assert time.monotonic() - asked_at < REFUSED_SECONDS
            assert (answer.status, "retry-after" in answer.headers) == (503, True), answer
        until(lambda: operator.call("GET", "/readyz").status == 503, "not ready", REFUSED_SECONDS)
        assert operator.call("GET", "/healthz").status == 200
        cluster.start()
        back_at = time.monotonic()
        before = len(receiver.arrivals), len(world.acknowledged)
        until(lambda: operator.call("GET", "/readyz").status == 200, "ready again", RECOVERED_SECONDS)
        until(
            lambda: len(receiver.arrivals) > before[0] and len(world.acknowledged) > before[1],
            "events are accepted and delivered again",
            RECOVERED_SECONDS,
        )
        assert time.monotonic() - back_at < RECOVERED_SECONDS
    longest = max(publisher.longest_seconds for publisher in world.publishers)
    assert longest < REFUSED_SECONDS, "a publish hung"
    account = balanced(operator, world)
    assert account.repeated == 0, "ends of attempts are kept until the database is back"


@pytest.mark.thorough
def test_connections_to_postgres_that_are_reset_or_stall_lose_nothing(
    stage: Stage, cluster: Cluster, receiver: Receiver
) -> None:
    address, proxy = through(stage, cluster, stage.database("postgres"))
    node = stage.node(address).start()
    operator = stage.client(node)
    world = World.made(operator, receiver)
    with world.load([node]):
        for _ in range(5):
            receiver.wait_for_total(len(receiver.arrivals) + 30)
            proxy.reset()
        with world.fault():
            receiver.wait_for_total(len(receiver.arrivals) + 30)
            proxy.stall()
            stalled_at = time.monotonic()
            until(lambda: time.monotonic() > stalled_at + STALL_SECONDS, "a stall")
            proxy.go_on()
            receiver.wait_for_total(len(receiver.arrivals) + 30)
        with world.fault():
            proxy.is_refusing = True
            proxy.reset()
            until(lambda: operator.call("GET", "/readyz").status == 503, "not ready")
            proxy.is_refusing = False
            until(lambda: operator.call("GET", "/readyz").status == 200, "ready again", RECOVERED_SECONDS)
        receiver.wait_for_total(len(receiver.arrivals) + 30)
    assert max(publisher.longest_seconds for publisher in world.publishers) < HANG_SECONDS
    balanced(operator, world)


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["gone", "stalled"])
def test_a_process_whose_database_never_confirms_ends_within_its_bound(
    stage: Stage, cluster: Cluster, receiver: Receiver, how: str
) -> None:
    address, proxy = through(stage, cluster, stage.database("postgres"))
    node = stage.node(address).start()
    operator = stage.client(node)
    company = operator.company()
    body = {"callbackUrl": receiver.url("/unconfirmed")}
    subscription = operator.made("POST", f"/v1/webhooks?companyId={company}", body)["id"]
    receiver.answer("/unconfirmed", HANGS, OK)
    operator.publish(company)
    receiver.wait_at("/unconfirmed", 1)
    if how == "gone":
        proxy.is_refusing = True
        proxy.reset()
    else:
        proxy.stall()
    receiver.release()
    node.terminate()
    asked_at = time.monotonic()
    assert node.wait() == UNCONFIRMED
    assert time.monotonic() - asked_at < SETTLING_SECONDS + 5
    proxy.is_refusing = False
    proxy.go_on()
    node.start()
    receiver.wait_at("/unconfirmed", 2)
    until(lambda: len(operator.log(subscription)) == 2, "both attempts are logged")
    assert [row["error"] for row in operator.log(subscription)] == ["lost", None]


def event_for(company: int) -> dict[str, object]:
    return {"eventType": "note.created", "companyIds": [company], "data": {}}
