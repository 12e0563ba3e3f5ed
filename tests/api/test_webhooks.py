"""Subscriptions over HTTP: the member's own API to the letter, and what starts no more after it was ended."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import apsw
import pytest

from api.loopback import Answer, Server
from api.traffic import claim, publish, settle
from api.world import World
from hookline import lifecycle

URL = "https://api.example.com/hooks"
Call = Callable[..., Answer]

OF_THE_ORIGINAL = ("id", "callbackUrl", "eventTypes", "active", "createdAt", "updatedAt")
SHOWN = {
    *OF_THE_ORIGINAL,
    *("companyId", "callbackAuthType", "payloadVersion", "inactiveReason", "inactiveSince"),
    *("retryDelaysSeconds", "timeoutSeconds", "maxInFlight", "ratePerSecond", "ordered", "contentType", "headers"),
    *("filter", "caseDirections", "partnerCompanyIds", "clientCertificate", "caCertificate", "validation"),
}
DEFAULTS = {
    "callbackAuthType": "NONE",
    "payloadVersion": "V1",
    "retryDelaysSeconds": [10, 60, 300],
    "timeoutSeconds": 30,
    "maxInFlight": 10,
    "ratePerSecond": None,
    "ordered": False,
    "contentType": "application/json",
    "headers": [],
    "filter": None,
    "caseDirections": None,
    "partnerCompanyIds": None,
    "clientCertificate": None,
    "caCertificate": None,
    "validation": None,
}


@pytest.fixture
def member(server: Server, world: World) -> Call:
    """Call as the member of a company whose subscriptions are gone afterwards."""

    def call(method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return server.call(method, path, body, token=world.tokens["member"], **more)

    server.clock.advance(60)  # what an earlier test claimed and left may not start any more
    for each in call("GET", "/v1/webhooks?payloadVersion=ANY").json:
        call("DELETE", f"/v1/webhooks/{each['id']}")
    return call


def _create(call: Call, **members: Any) -> Any:
    answer = call("POST", "/v1/webhooks", {"callbackUrl": URL, **members})
    assert answer.status == 200, answer.body
    return answer.json


# --- register and list -----------------------------------------------------------------------------------------------


def test_registering_answers_200_with_all_that_there_is(member: Call, world: World) -> None:
    answer = member("POST", "/v1/webhooks", {"callbackUrl": URL})
    assert answer.status == 200
    created = answer.json
    assert set(created) == SHOWN | {"secret"}
    assert {name: created[name] for name in DEFAULTS} == DEFAULTS
    assert (created["callbackUrl"], created["active"], created["companyId"]) == (URL, True, world.company)
    assert created["createdAt"] == created["updatedAt"]
    assert created["createdAt"].startswith("2026-11-18T")
    assert created["createdAt"].endswith(".000Z")
    assert 1 < created["id"] < 2**31


def test_the_secret_is_shown_once(member: Call) -> None:
    created = _create(member)
    path = f"/v1/webhooks/{created['id']}"
    assert created["secret"].startswith("whsec_")
    for answer in (
        member("GET", path),
        member("GET", "/v1/webhooks"),
        member("PATCH", path, {"timeoutSeconds": 5}),
        member("GET", f"{path}/deliveries"),
    ):
        assert answer.status == 200
        assert b"secret" not in answer.body
        assert b"whsec_" not in answer.body


def test_no_credential_and_no_header_value_is_ever_shown(member: Call) -> None:
    auth = {"type": "BASIC", "username": "ann-of-acme", "password": "pass-of-acme"}
    created = member(
        "POST", "/v1/webhooks", {"callbackUrl": URL, "callbackAuth": auth, "headers": {"X-Zone": "zone-of-acme"}}
    )
    path = f"/v1/webhooks/{created.json['id']}"
    changed = member("PATCH", path, {"headers": {"X-Zone": "zone-of-acme"}, "callbackAuth": auth})
    for answer in (created, changed, member("GET", path), member("GET", "/v1/webhooks")):
        assert answer.status == 200
        assert b"-of-acme" not in answer.body
    assert (changed.json["callbackAuthType"], changed.json["headers"]) == ("BASIC", ["X-Zone"])


def test_the_list_is_a_bare_array_by_id_and_knows_the_newest_at_once(member: Call) -> None:
    assert member("GET", "/v1/webhooks").json == []
    created = [_create(member) for _ in range(5)]
    listed = member("GET", "/v1/webhooks").json
    for each in created:
        del each["secret"]
    assert listed == sorted(created, key=lambda each: each["id"])


def test_the_same_url_may_be_registered_twice(member: Call) -> None:
    first, second = _create(member), _create(member)
    assert first["id"] != second["id"]
    assert first["secret"] != second["secret"]


@pytest.mark.parametrize("members", [{}, {"eventTypes": None}, {"eventTypes": []}])
def test_no_types_shows_every_ordinary_one_that_the_shape_sees(member: Call, members: dict[str, Any]) -> None:
    assert _create(member, **members)["eventTypes"] == ["collaboration-request.created", "note.created"]
    standard = _create(member, payloadVersion="STANDARD", **members)["eventTypes"]
    assert {"note.created", "collaboration-request.closed"} <= set(standard)
    assert not {"webhook.ping", "delivery.dead"} & set(standard)


def test_a_type_made_later_is_among_every_one(server: Server, member: Call) -> None:
    created = _create(member)
    server.call("PUT", "/v1/event-types/made.later", {})
    assert "made.later" in member("GET", f"/v1/webhooks/{created['id']}").json["eventTypes"]
    server.call("DELETE", "/v1/event-types/made.later")


def test_a_list_is_narrowed_by_shape(member: Call) -> None:
    ids = {shape: _create(member, payloadVersion=shape)["id"] for shape in ("V1", "STANDARD", "RAW")}
    for shape, subscription_id in ids.items():
        listed = member("GET", f"/v1/webhooks?payloadVersion={shape}").json
        assert [each["id"] for each in listed] == [subscription_id]
    for query in ("", "?payloadVersion=ANY", "?nonsense=1"):
        assert {each["id"] for each in member("GET", f"/v1/webhooks{query}").json} == set(ids.values())
    for bad in ("V2", "v1", "raw"):
        answer = member("GET", f"/v1/webhooks?payloadVersion={bad}")
        assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, "payloadVersion")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "callbackUrl"),
        ({"callbackUrl": None}, "callbackUrl"),
        ({"callbackUrl": 5}, "callbackUrl"),
        ({"callbackUrl": ""}, "callbackUrl"),
        ({"callbackUrl": "http://api.example.com/"}, "callbackUrl"),
        ({"callbackUrl": "https://169.254.169.254/latest"}, "callbackUrl"),
        ({"callbackUrl": "https://api.example.com/" + "a" * 2048}, "callbackUrl"),
        ({"callbackUrl": URL, "payloadVersion": "V2"}, "payloadVersion"),
        ({"callbackUrl": URL, "eventTypes": ["order.paid"]}, "eventTypes[0]"),
        ({"callbackUrl": URL, "eventTypes": "note.created"}, "eventTypes"),
        ({"callbackUrl": URL, "maxInFlight": 101}, "maxInFlight"),
        ({"callbackUrl": URL, "retryDelaysSeconds": [5, 0]}, "retryDelaysSeconds[1]"),
        ({"callbackUrl": URL, "ordered": "yes"}, "ordered"),
        ({"callbackUrl": URL, "ratePerSecond": 0}, "ratePerSecond"),
        ({"callbackUrl": URL, "callbackAuth": {"type": "BEARER"}}, "callbackAuth.token"),
    ],
)
def test_what_is_refused_is_named_and_not_stored(member: Call, body: Any, field: str) -> None:
    answer = member("POST", "/v1/webhooks", body)
    assert answer.status == 400
    assert [error["field"] for error in answer.json["validationErrors"]] == [field]
    assert member("GET", "/v1/webhooks").json == []


def test_unknown_members_are_ignored(member: Call) -> None:
    assert "colour" not in _create(member, colour="red", id=5, companyId=9)


def test_a_company_has_as_many_subscriptions_as_it_may(server: Server, member: Call) -> None:
    made = [_create(member) for _ in range(server.api.settings.quota_subscriptions)]
    assert member("POST", "/v1/webhooks", {"callbackUrl": URL}).status == 409
    assert member("DELETE", f"/v1/webhooks/{made[0]['id']}").status == 204
    _create(member)


def test_a_companys_list_is_whole_whatever_the_query_says(server: Server, world: World, member: Call) -> None:
    ids = sorted(_create(member)["id"] for _ in range(3))
    for query in ("limit=1", f"afterId={ids[0]}", "limit=abc&afterId=-5", "page=1&size=1", "sort=id,desc"):
        assert [each["id"] for each in member("GET", f"/v1/webhooks?{query}").json] == ids
        asked = server.call("GET", f"/v1/webhooks?companyId={world.company}&{query}")
        assert [each["id"] for each in asked.json] == ids


def test_an_operator_lists_everybody_in_parts(server: Server, world: World, member: Call) -> None:
    ids = [_create(member)["id"] for _ in range(3)]
    for company in (world.company, world.other_company):
        path = f"/v1/webhooks?companyId={company}"
        ids.append(server.call("POST", path, {"callbackUrl": URL}).json["id"])
    seen, after = [], 0
    while page := server.call("GET", f"/v1/webhooks?limit=2&afterId={after}").json:
        assert len(page) <= 2
        seen += [each["id"] for each in page]
        after = page[-1]["id"]
    assert seen == sorted(ids)
    own = server.call("GET", f"/v1/webhooks?companyId={world.other_company}").json
    assert [each["companyId"] for each in own] == [world.other_company]
    server.call("DELETE", f"/v1/webhooks/{ids[-1]}")


# --- change ----------------------------------------------------------------------------------------------------------


def test_a_change_keeps_what_it_does_not_name_and_null_restores(server: Server, member: Call) -> None:
    created = _create(member, retryDelaysSeconds="capped", timeoutSeconds=5)
    path = f"/v1/webhooks/{created['id']}"
    server.clock.advance(1)
    changed = member("PATCH", path, {"maxInFlight": 3, "retryDelaysSeconds": [1, 2]}).json
    assert (changed["timeoutSeconds"], changed["maxInFlight"], changed["retryDelaysSeconds"]) == (5, 3, [1, 2])
    assert changed["updatedAt"] > changed["createdAt"] == created["createdAt"]
    restored = member(
        "PATCH", path, {"retryDelaysSeconds": None, "timeoutSeconds": None, "maxInFlight": None, "active": None}
    ).json
    assert {name: restored[name] for name in DEFAULTS} == DEFAULTS
    assert member("GET", path).json == restored


def test_presets_are_shown_as_given(member: Call) -> None:
    assert _create(member, retryDelaysSeconds="days")["retryDelaysSeconds"] == "days"


def test_a_change_that_is_refused_changes_nothing(member: Call) -> None:
    created = _create(member)
    path = f"/v1/webhooks/{created['id']}"
    before = member("GET", path).json
    for body in (
        {"payloadVersion": "V1"},
        {"timeoutSeconds": 5, "maxInFlight": 0},
        {"callbackUrl": "http://a.example"},
    ):
        assert member("PATCH", path, body).status == 400
    assert member("GET", path).json == before


def test_changes_at_once_lose_none(member: Call) -> None:
    path = f"/v1/webhooks/{_create(member)['id']}"
    bodies = [{"timeoutSeconds": 7}, {"maxInFlight": 8}, {"retryDelaysSeconds": [9]}]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda body: member("PATCH", path, body), bodies))
    assert [answer.status for answer in answers] == [200] * 3
    shown = member("GET", path).json
    assert (shown["timeoutSeconds"], shown["maxInFlight"], shown["retryDelaysSeconds"]) == (7, 8, [9])


def test_a_viewer_reads_and_changes_nothing(server: Server, world: World, member: Call) -> None:
    path = f"/v1/webhooks/{_create(member)['id']}"
    viewer = world.tokens["viewer"]
    assert server.call("GET", path, token=viewer).status == 200
    for method, target, body in (
        ("POST", "/v1/webhooks", {"callbackUrl": URL}),
        ("PATCH", path, {}),
        ("DELETE", path, None),
    ):
        assert server.call(method, target, body, token=viewer).status == 403


# --- pause, resume, delete -------------------------------------------------------------------------------------------


def test_deliveries_of_a_paused_subscription_are_held_and_go_out_when_it_resumes(
    server: Server, world: World, member: Call
) -> None:
    path = f"/v1/webhooks/{_create(member)['id']}"
    paused = member("PATCH", path, {"active": False}).json
    assert (paused["active"], paused["inactiveReason"]) == (False, "paused")
    event = publish(server, world.company)
    assert claim(server) == []
    (delivery,) = member("GET", f"/v1/events/{event}").json["deliveries"]
    assert delivery["state"] == "held"
    assert delivery["reason"].startswith("held since 2026-")
    assert member("PATCH", path, {"active": True}).json["inactiveReason"] is None
    assert [claimed.event_id for claimed in claim(server)] == [event]


def test_resuming_lifts_what_the_receiver_asked_to_wait(server: Server, world: World, member: Call) -> None:
    path = f"/v1/webhooks/{_create(member)['id']}"
    first = publish(server, world.company)
    (claimed,) = claim(server)
    settle(server, claimed, status=503, retry_ms=1000, hold_ms=3_600_000)
    second = publish(server, world.company)
    assert claim(server) == [], "the receiver asked for an hour"
    member("PATCH", path, {"active": True})
    server.clock.advance(1)
    assert {claimed.event_id for claimed in claim(server)} == {first, second}


def test_resuming_wakes_the_engine(member: Call, woken: list[None]) -> None:
    path = f"/v1/webhooks/{_create(member)['id']}"
    member("PATCH", path, {"active": False})
    assert not woken
    member("PATCH", path, {"active": True})
    assert woken


def test_all_who_change_one_subscription_at_once_are_served(member: Call) -> None:
    path = f"/v1/webhooks/{_create(member, headers={'X-A': 'b'})['id']}"
    asked = [("PATCH", path, {"timeoutSeconds": 1 + number}) for number in range(20)]
    asked += [("POST", f"{path}/secret", {"overlapSeconds": 0})] * 10
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda each: member(*each), asked))
    assert {answer.status for answer in answers} == {200}
    assert member("GET", path).json["timeoutSeconds"] in range(1, 21)
    assert len({answer.json["secret"] for answer in answers[20:]}) == 10


def test_deleting_answers_204_and_again_404(member: Call) -> None:
    path = f"/v1/webhooks/{_create(member)['id']}"
    answer = member("DELETE", path, headers={"Accept": "text/html"})
    assert (answer.status, answer.body) == (204, b"")
    for method, body in (("DELETE", None), ("GET", None), ("PATCH", {"active": True})):
        assert member(method, path, body).status == 404
    assert member("GET", f"{path}/deliveries").status == 404


def test_a_damaged_subscription_hides_no_other_and_can_be_deleted_by_its_own_company_alone(
    server: Server, world: World, member: Call
) -> None:
    whole, broken = _create(member)["id"], _create(member)["id"]
    with closing(apsw.Connection(server.faults._storage._path)) as direct:  # type: ignore[attr-defined]
        direct.execute("UPDATE subscriptions SET policies = '[' || policies WHERE id = ?", (broken,))

    for narrowed in ("", f"?companyId={world.company}"):
        listed = [each["id"] for each in server.call("GET", f"/v1/webhooks{narrowed}").json]
        assert whole in listed
        assert broken not in listed
    assert [each["id"] for each in member("GET", "/v1/webhooks").json] == [whole]
    assert server.call("DELETE", f"/v1/webhooks/{broken}", token=world.other_member).status == 404
    assert member("DELETE", f"/v1/webhooks/{broken}").status == 204
    assert member("DELETE", f"/v1/webhooks/{broken}").status == 404


def test_what_waits_is_cancelled_by_a_delete(server: Server, world: World, member: Call) -> None:
    path = f"/v1/webhooks/{_create(member)['id']}"
    event = publish(server, world.company)
    assert member("DELETE", path).status == 204
    assert claim(server) == []
    (delivery,) = member("GET", f"/v1/events/{event}").json["deliveries"]
    assert (delivery["state"], delivery["reason"]) == ("cancelled", "deleted")


ENDINGS = [
    ("DELETE", None, 204, lambda shown: shown.status == 404),
    ("PATCH", {"active": False}, 200, lambda shown: not shown.json["active"]),
]


@pytest.fixture(params=ENDINGS, ids=["delete", "deactivate"])
def ending(request: pytest.FixtureRequest) -> Any:
    return request.param


def _end_while_claimed(
    server: Server, world: World, member: Call, ending: Any, pool: ThreadPoolExecutor
) -> tuple[Any, Future[Answer]]:
    """Claim a delivery, end its subscription, and return both once the end is committed and has had time to answer."""
    method, body, _, is_ended = ending
    path = f"/v1/webhooks/{_create(member)['id']}"
    publish(server, world.company)
    (claimed,) = claim(server)
    answer = pool.submit(member, method, path, body)
    while not is_ended(member("GET", path)):
        assert not answer.done()
    for _ in range(10):
        member("GET", "/v1/me")
    assert not answer.done(), "an attempt that was just claimed may still start"
    return claimed, answer


def test_an_end_is_answered_as_soon_as_what_was_claimed_is_settled(
    server: Server, world: World, member: Call, ending: Any
) -> None:
    with ThreadPoolExecutor(1) as pool:
        claimed, answer = _end_while_claimed(server, world, member, ending, pool)
        settle(server, claimed)
        assert answer.result(10).status == ending[2]


def test_an_end_is_answered_when_what_was_claimed_may_not_start_any_more(
    server: Server, world: World, member: Call, ending: Any
) -> None:
    with ThreadPoolExecutor(1) as pool:
        claimed, answer = _end_while_claimed(server, world, member, ending, pool)
        server.clock.advance(lifecycle.START_WINDOW_MS / 1000 + 0.2)
        assert answer.result(10).status == ending[2]
    settle(server, claimed)


def test_removing_a_company_is_answered_when_nothing_of_it_may_start_any_more(server: Server) -> None:
    world = World.build(server.call)

    def member(method: str, path: str, body: Any = None) -> Answer:
        return server.call(method, path, body, token=world.tokens["member"])

    _create(member)
    path = f"/v1/companies/{world.company}"
    publish(server, world.company)
    claimed = claim(server)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.call, "DELETE", f"{path}?cascade=true")
        while server.call("GET", path).status == 200:
            assert not answer.done()
        for _ in range(10):
            server.call("GET", "/v1/me")
        assert not answer.done(), "an attempt that was just claimed may still start"
        for each in claimed:
            settle(server, each)
        assert answer.result(10).status == 204


@pytest.mark.parametrize(
    "path", ["/v1/webhooks?payloadVersion=", "/v1/events?state=", "/v1/webhooks/{id}/deliveries?status="]
)
def test_an_empty_word_is_none_of_those_that_a_parameter_takes(member: Call, path: str) -> None:
    made = member("POST", "/v1/webhooks", {"callbackUrl": URL}).json
    answer = member("GET", path.format(id=made["id"]))
    assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, path[path.index("?") + 1 : -1])
