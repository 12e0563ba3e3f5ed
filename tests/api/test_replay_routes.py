"""Replays over HTTP: who may ask, what is refused, what is shown; the pace and the rest are the storage's claims."""

from collections.abc import Callable
from typing import Any

import pytest

from api.loopback import Answer, Server
from api.traffic import claim, publish, settle
from api.world import World
from hookline.clock import rfc3339
from hookline.replays import FIRST, RUNNING_MAX

URL = "https://api.example.com/hooks"
Call = Callable[..., Answer]
SHOWN = {"id", "subscriptionId", "state", "total", "done", "createdAt", "from", "to", "status", "eventTypes"}


@pytest.fixture
def member(server: Server, world: World) -> Call:
    """Call as the member of a company whose subscriptions are gone afterwards."""

    def call(method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return server.call(method, path, body, **({"token": world.tokens["member"]} | more))

    server.clock.advance(3600)  # past what earlier tests published
    for each in call("GET", "/v1/webhooks?payloadVersion=ANY").json:
        call("DELETE", f"/v1/webhooks/{each['id']}")
    return call


@pytest.fixture
def path(member: Call) -> str:
    return f"/v1/webhooks/{member('POST', '/v1/webhooks', {'callbackUrl': URL}).json['id']}"


@pytest.fixture
def hour(server: Server, path: str) -> dict[str, str]:
    """The time of the test, as a replay asks for it."""
    assert path
    return {
        "from": rfc3339(server.clock.now_ms - 1_800_000),
        "to": rfc3339(server.clock.now_ms + 1_800_000),
    }


def send(server: Server, status: int = 200) -> list[str]:
    claimed = claim(server)
    for one in claimed:
        settle(server, one, status=status)
    return [one.event_id for one in claimed]


def step(server: Server) -> None:
    server.run(server.storage.step_replays(FIRST))


def refused(answer: Answer, status: int = 400) -> Any:
    assert answer.status == status, answer.body
    errors = answer.json["validationErrors"]
    return errors[0]["field"] if errors else None


def test_a_replay_is_counted_answered_and_followed_to_its_end(
    server: Server, world: World, member: Call, path: str, hour: dict[str, str]
) -> None:
    ids = []
    for status in (200, 500, 500):
        ids.append(publish(server, world.company))
        send(server, status)
    server.clock.advance(1)
    answer = member("POST", f"{path}/replay", {**hour, "status": "failed"})
    assert (answer.status, set(answer.json)) == (202, SHOWN)
    made = answer.json
    assert (made["state"], made["total"], made["done"], made["status"]) == ("running", 2, 0, "failed")
    assert (made["subscriptionId"], made["from"], made["to"]) == (
        int(path.removeprefix("/v1/webhooks/")),
        hour["from"],
        hour["to"],
    )
    assert made["createdAt"] == rfc3339(server.clock.now_ms)
    assert made["eventTypes"] is None
    replay = f"/v1/replays/{made['id']}"
    assert member("GET", replay).json == made
    for number in range(2):
        step(server)
        assert send(server) == [ids[1 + number]]
    step(server)
    assert member("GET", replay).json == {**made, "state": "done", "done": 2}


def test_absent_status_takes_all_and_makes_what_was_missed(
    server: Server, world: World, member: Call, path: str, hour: dict[str, str]
) -> None:
    event_id = publish(server, world.company)
    send(server)
    server.clock.advance(1)
    later = member("POST", "/v1/webhooks", {"callbackUrl": URL}).json
    assert member("POST", f"{path}/replay", hour).json["total"] == 1
    missed = f"/v1/webhooks/{later['id']}/replay"
    assert member("POST", missed, {**hour, "status": "succeeded"}).json["total"] == 0
    assert member("POST", missed, {**hour, "eventTypes": ["collaboration-request.created"]}).json["total"] == 0
    made = member("POST", missed, {**hour, "status": None, "eventTypes": ["note.created"]}).json
    assert (made["total"], made["eventTypes"]) == (1, ["note.created"])
    step(server)
    assert send(server) == [event_id] * 2


def test_cancelling_restores_and_shows(
    server: Server, world: World, member: Call, path: str, hour: dict[str, str]
) -> None:
    event_id = publish(server, world.company)
    send(server, 500)
    server.clock.advance(1)
    replay = f"/v1/replays/{member('POST', f'{path}/replay', hour).json['id']}"
    step(server)
    assert member("GET", f"/v1/events/{event_id}").json["counts"]["pending"] == 1
    for _ in range(2):
        answer = member("DELETE", replay)
        assert (answer.status, answer.body) == (204, b"")
        assert member("GET", replay).json["state"] == "cancelled"
        assert member("GET", f"/v1/events/{event_id}").json["counts"]["dead"] == 1


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"from": None}, "from"),
        ({"to": "yesterday"}, "to"),
        ({"to": "2026-11-23T08:00:00"}, "to"),
        ({"from": "2026-11-23T08:00:00Z", "to": "2026-11-23T08:00:00.000Z"}, "to"),
        ({"status": "held"}, "status"),
        ({"eventTypes": "note.created"}, "eventTypes"),
        ({"eventTypes": ["x"] * 1001}, "eventTypes"),
    ],
)
def test_a_replay_that_cannot_be_meant_names_its_member(
    member: Call, path: str, hour: dict[str, str], said: dict[str, Any], field: str
) -> None:
    assert refused(member("POST", f"{path}/replay", hour | said)) == field


@pytest.mark.parametrize("lacking", ["from", "to"])
def test_the_time_must_be_said(member: Call, path: str, hour: dict[str, str], lacking: str) -> None:
    del hour[lacking]
    assert refused(member("POST", f"{path}/replay", hour)) == lacking


def test_an_offset_is_understood(member: Call, path: str) -> None:
    time = {"from": "2026-11-23T08:00:00+02:00", "to": "2026-11-23T08:00:00Z"}
    assert member("POST", f"{path}/replay", time).json["from"] == "2026-11-23T06:00:00.000Z"


def test_a_loop_that_asks_again_and_again_is_stopped(
    server: Server, world: World, member: Call, path: str, hour: dict[str, str]
) -> None:
    publish(server, world.company)
    send(server)
    server.clock.advance(1)
    for _ in range(RUNNING_MAX):
        assert member("POST", f"{path}/replay", hour).status == 202
    answer = member("POST", f"{path}/replay", hour)
    assert (answer.status, "running" in answer.json["detail"]) == (409, True)


def test_a_viewer_reads_and_nothing_else(
    server: Server, world: World, member: Call, path: str, hour: dict[str, str]
) -> None:
    made = member("POST", f"{path}/replay", hour).json
    viewer = {"token": world.tokens["viewer"]}
    assert member("GET", f"/v1/replays/{made['id']}", **viewer).json == made
    assert member("POST", f"{path}/replay", hour, **viewer).status == 403
    assert member("DELETE", f"/v1/replays/{made['id']}", **viewer).status == 403
    for role in ("member", "viewer", "publisher"):
        assert server.call("POST", "/v1/replays", hour, token=world.tokens[role]).status == 403


def test_a_foreign_replay_does_not_exist(
    server: Server, world: World, member: Call, path: str, hour: dict[str, str]
) -> None:
    made = member("POST", f"{path}/replay", hour).json
    unknown = member("GET", f"/v1/replays/{made['id'] + 1}").json
    for method in ("GET", "DELETE"):
        answer = server.call(method, f"/v1/replays/{made['id']}", token=world.other_member)
        assert answer.status == 404
        assert {**answer.json, "instance": None} == {**unknown, "instance": None}
    narrowed = server.call("GET", f"/v1/replays/{made['id']}?companyId={world.other_company}")
    assert narrowed.status == 404
    assert server.call("GET", f"/v1/replays/{made['id']}?companyId={world.company}").json == made


def test_an_operator_replays_for_everybody_or_one_company(
    server: Server, world: World, member: Call, hour: dict[str, str]
) -> None:
    other = server.call("POST", f"/v1/webhooks?companyId={world.other_company}", {"callbackUrl": URL}).json
    publish(server, world.company, world.other_company)
    send(server, 500)
    server.clock.advance(1)
    assert refused(server.call("POST", "/v1/replays", hour)) == "status"
    assert (
        refused(server.call("POST", "/v1/replays", {**hour, "status": "failed", "companyId": 987_654})) == "companyId"
    )
    answer = server.call("POST", "/v1/replays", {**hour, "status": "failed"})
    assert (answer.status, set(answer.json)) == (202, SHOWN)
    everybody = answer.json
    assert (everybody["total"], everybody["subscriptionId"]) == (2, None)
    one = server.call("POST", "/v1/replays", {**hour, "status": "failed", "companyId": world.other_company}).json
    assert one["total"] == 1
    for made in (everybody, one):
        assert member("GET", f"/v1/replays/{made['id']}").status == 404, "an operator's replay is the operator's"
        assert server.call("GET", f"/v1/replays/{made['id']}").json == made
        assert server.call("DELETE", f"/v1/replays/{made['id']}").status == 204
    server.call("DELETE", f"/v1/webhooks/{other['id']}")
