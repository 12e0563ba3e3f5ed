"""Ping, rotation and redelivery over HTTP: what is answered, and what is refused with what to do."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from api.loopback import Answer, Server
from api.traffic import claim, publish, settle
from api.world import World

URL = "https://api.example.com/hooks"
Call = Callable[..., Answer]


@pytest.fixture
def member(server: Server, world: World) -> Call:
    """Call as the member of a company whose subscriptions are gone afterwards."""

    def call(method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return server.call(method, path, body, **({"token": world.tokens["member"]} | more))

    server.clock.advance(60)  # what an earlier test claimed and left may not start any more
    for each in call("GET", "/v1/webhooks?payloadVersion=ANY").json:
        call("DELETE", f"/v1/webhooks/{each['id']}")
    return call


@pytest.fixture
def subscription(member: Call) -> Any:
    return member("POST", "/v1/webhooks", {"callbackUrl": URL}).json


@pytest.fixture
def path(subscription: Any) -> str:
    return f"/v1/webhooks/{subscription['id']}"


def refused(answer: Answer) -> str:
    assert answer.status == 409, answer.body
    detail: str = answer.json["detail"]
    return detail


# --- ping ------------------------------------------------------------------------------------------------------------


def test_a_ping_is_an_event_for_this_subscription_alone(
    server: Server, member: Call, path: str, subscription: Any, woken: list[None]
) -> None:
    member("POST", "/v1/webhooks", {"callbackUrl": URL})
    member("PATCH", path, {"eventTypes": ["note.created"]})
    answer = member("POST", f"{path}/ping")
    assert (answer.status, set(answer.json), woken) == (202, {"deliveryId", "eventId"}, [None])
    (claimed,) = claim(server)
    assert (claimed.id, claimed.event_id) == (answer.json["deliveryId"], answer.json["eventId"])
    assert (claimed.subscription_id, claimed.type_name) == (subscription["id"], "webhook.ping")
    settle(server, claimed)
    (row,) = member("GET", f"{path}/deliveries").json["content"]
    assert (row["eventType"], row["success"], row["eventId"]) == ("webhook.ping", True, answer.json["eventId"])
    event = member("GET", f"/v1/events/{answer.json['eventId']}").json
    assert len(event["data"]["requestToken"]) == 16
    assert [delivery["id"] for delivery in event["deliveries"]] == [answer.json["deliveryId"]]


def test_each_ping_is_another_event(member: Call, path: str) -> None:
    first, second = (member("POST", f"{path}/ping").json for _ in range(2))
    assert first["eventId"] != second["eventId"]
    assert first["deliveryId"] != second["deliveryId"]


def test_an_inactive_subscription_is_not_pinged(member: Call, path: str) -> None:
    member("PATCH", path, {"active": False})
    assert '{"active": true}' in refused(member("POST", f"{path}/ping"))
    member("PATCH", path, {"active": True})
    assert member("POST", f"{path}/ping").status == 202


def test_a_shape_that_the_catalogue_never_gives_pings_is_told_so(server: Server, member: Call, path: str) -> None:
    named = server.run(server.storage.catalogue()).types["webhook.ping"]
    server.run(server.storage.put_event_type(replace(named, v1_name=None)))
    assert "no name for payload version V1" in refused(member("POST", f"{path}/ping"))
    server.run(server.storage.put_event_type(named))
    assert member("POST", f"{path}/ping").status == 202


def test_the_operator_s_own_subscription_can_be_pinged(server: Server) -> None:
    made = server.call("POST", "/v1/webhooks?companyId=1", {"callbackUrl": URL}).json
    answer = server.call("POST", f"/v1/webhooks/{made['id']}/ping")
    assert answer.status == 202
    shown = server.call("GET", f"/v1/webhooks/{made['id']}/deliveries/{answer.json['deliveryId']}").json
    assert (shown["state"], shown["eventId"]) == ("pending", answer.json["eventId"])
    server.call("DELETE", f"/v1/webhooks/{made['id']}")


# --- rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, {}, {"overlapSeconds": None}, {"overlapSeconds": 0, "hubSignature": "old"}])
def test_a_rotation_answers_as_creation_did_with_another_secret(
    member: Call, path: str, subscription: Any, body: Any
) -> None:
    answer = member("POST", f"{path}/secret", body)
    assert answer.status == 200, answer.body
    assert set(answer.json) == set(subscription)
    assert answer.json["secret"].startswith("whsec_")
    assert answer.json["secret"] != subscription["secret"]
    assert "secret" not in member("GET", path).json


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"overlapSeconds": -1}, "overlapSeconds"),
        ({"overlapSeconds": 604_801}, "overlapSeconds"),
        ({"overlapSeconds": 1.5}, "overlapSeconds"),
        ({"overlapSeconds": True}, "overlapSeconds"),
        ({"hubSignature": "both"}, "hubSignature"),
    ],
)
def test_a_rotation_that_cannot_be_meant_names_its_member(member: Call, path: str, said: Any, field: str) -> None:
    answer = member("POST", f"{path}/secret", said)
    assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, field)


def test_a_sixth_live_secret_is_refused_until_the_oldest_has_expired(server: Server, member: Call, path: str) -> None:
    secrets = {member("POST", f"{path}/secret", {"overlapSeconds": 600}).json["secret"] for _ in range(4)}
    assert len(secrets) == 4
    assert "expires at 2026-" in refused(member("POST", f"{path}/secret", {"overlapSeconds": 600}))
    assert member("POST", f"{path}/secret", {"overlapSeconds": 0}).status == 200
    server.clock.advance(600)
    assert member("POST", f"{path}/secret", {"overlapSeconds": 600}).status == 200


# --- redelivery ------------------------------------------------------------------------------------------------------


def test_a_delivery_that_ended_goes_out_again(
    server: Server, world: World, member: Call, path: str, woken: list[None]
) -> None:
    event_id = publish(server, world.company)
    (claimed,) = claim(server)
    settle(server, claimed, status=500)
    again = f"{path}/deliveries/{claimed.id}/redeliver"
    woken.clear()
    for _ in range(2):  # the second finds it pending
        answer = member("POST", again)
        assert (answer.status, answer.json) == (202, {"deliveryId": claimed.id, "eventId": event_id})
    assert woken
    (second,) = claim(server)
    assert (second.id, second.attempt) == (claimed.id, 2)
    assert "under way" in refused(member("POST", again))
    settle(server, second)
    assert member("POST", again).status == 202


def test_what_is_held_or_cancelled_is_refused_with_the_reason(
    server: Server, world: World, member: Call, path: str
) -> None:
    event_id = publish(server, world.company)
    (delivery,) = member("GET", f"/v1/events/{event_id}").json["deliveries"]
    again = f"{path}/deliveries/{delivery['id']}/redeliver"
    member("PATCH", path, {"active": False})
    assert "held: its subscription is inactive (paused)" in refused(member("POST", again))
    member("DELETE", path)
    assert member("POST", again).status == 404


def test_a_viewer_may_do_none_of_it(world: World, member: Call, path: str) -> None:
    for action in ("ping", "secret", "deliveries/1/redeliver"):
        assert member("POST", f"{path}/{action}", token=world.tokens["viewer"]).status == 403
