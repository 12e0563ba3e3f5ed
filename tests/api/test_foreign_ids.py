"""What belongs to another company answers, on every route, exactly as what does not exist."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from api.loopback import Server
from api.world import OPERATOR_TOKEN, World
from hookline.api.app import ROUTES, Route
from hookline.model import Role

URL = "https://api.example.com/hooks"
UNKNOWN = {"id": 1_999_999_999, "deliveryId": 4_999_999_999_999, "eventId": "evt_unknown", "replay": 4_999_999_999_998}
MEMBERS_ROUTES = [route for route in ROUTES if route.roles and Role.MEMBER in route.roles]
WITH_IDS = [route for route in MEMBERS_ROUTES if any(f"{{{name}}}" in route.path for name in UNKNOWN)]


@dataclass(frozen=True)
class Owned:
    """One of each thing that a company can own."""

    subscription: int
    delivery: int
    event: str
    replay: int

    def ids(self) -> dict[str, object]:
        return {"id": self.subscription, "deliveryId": self.delivery, "eventId": self.event, "replay": self.replay}


def _owned(server: Server, company: int) -> Owned:
    subscription = server.call("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": URL}).json["id"]
    body = {"eventType": "note.created", "companyIds": [company], "data": {"a": 1}}
    event = server.call("POST", "/v1/events", body).json["id"]
    delivery = server.call("GET", f"/v1/events/{event}").json["deliveries"][0]["id"]
    time = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    replay = server.call("POST", f"/v1/webhooks/{subscription}/replay", time).json["id"]
    return Owned(subscription, delivery, event, replay)


@pytest.fixture(scope="module")
def own(server: Server, world: World) -> Owned:
    return _owned(server, world.company)


@pytest.fixture(scope="module")
def foreign(server: Server, world: World) -> Owned:
    return _owned(server, world.other_company)


@pytest.fixture(scope="module")
def both(own: Owned, foreign: Owned) -> tuple[Owned, Owned]:
    return own, foreign


def _filled(route: Route, ids: dict[str, object]) -> str:
    path = route.path
    if path.startswith("/v1/replays/"):
        ids = {"id": ids["replay"]}
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", str(value))
    return path


def _answer(server: Server, route: Route, ids: dict[str, object], token: str = OPERATOR_TOKEN, query: str = "") -> Any:
    body = {"timeoutSeconds": 5} if route.method == "PATCH" else None
    answer = server.call(route.method, _filled(route, ids) + query, body, token=token)
    problem = json.loads(answer.body) if answer.status >= 400 else {}
    problem.pop("instance", None)
    return answer.status, problem


@pytest.mark.parametrize("role", ["member", "viewer"])
@pytest.mark.parametrize("route", WITH_IDS, ids=lambda route: f"{route.method} {route.path}")
def test_a_foreign_id_answers_as_one_that_nobody_has(
    server: Server, world: World, both: tuple[Owned, Owned], route: Route, role: str
) -> None:
    own, foreign = both
    token = world.tokens[role]
    if route.roles and Role(role) not in route.roles:
        assert _answer(server, route, foreign.ids(), token)[0] == 403
        return
    unknown = _answer(server, route, UNKNOWN, token)
    assert unknown[0] == 404
    for query in ("", f"?companyId={world.other_company}"):
        assert _answer(server, route, foreign.ids(), token, query) == unknown
    if "{deliveryId}" in route.path:
        assert _answer(server, route, {**own.ids(), "deliveryId": foreign.delivery}, token) == unknown
    if route.method == "GET":
        assert _answer(server, route, own.ids(), token)[0] == 200


@pytest.mark.parametrize("route", WITH_IDS, ids=lambda route: f"{route.method} {route.path}")
def test_an_operator_that_names_a_company_sees_that_company_alone(
    server: Server, world: World, foreign: Owned, route: Route
) -> None:
    query = f"?companyId={world.company}"
    assert _answer(server, route, foreign.ids(), query=query) == _answer(server, route, UNKNOWN, query=query)
    if route.method == "GET":
        assert _answer(server, route, foreign.ids())[0] == 200
        assert _answer(server, route, foreign.ids(), query=f"?companyId={world.other_company}")[0] == 200


def test_lists_hold_the_own_company_alone(server: Server, world: World, own: Owned, foreign: Owned) -> None:
    for token in (world.tokens["member"], world.tokens["viewer"]):
        for query in ("", f"?companyId={world.other_company}"):
            webhooks = server.call("GET", f"/v1/webhooks{query}", token=token).json
            assert [webhook["id"] for webhook in webhooks] == [own.subscription]
            events = server.call("GET", f"/v1/events{query}", token=token).json["items"]
            assert [event["id"] for event in events] == [own.event]
    everything = server.call("GET", "/v1/webhooks").json
    assert {webhook["companyId"] for webhook in everything} == {world.company, world.other_company}
    narrowed = server.call("GET", f"/v1/webhooks?companyId={world.other_company}").json
    assert [webhook["id"] for webhook in narrowed] == [foreign.subscription]


def test_a_shared_event_shows_a_member_its_own_part_alone(
    server: Server, world: World, own: Owned, foreign: Owned
) -> None:
    companies = [world.company, world.other_company]
    body = {"eventType": "note.created", "companyIds": companies, "data": {}, "id": "shared"}
    assert server.call("POST", "/v1/events", body).json["deliveries"] == 2
    shown = server.call("GET", "/v1/events/shared", token=world.tokens["member"])
    assert [delivery["subscriptionId"] for delivery in shown.json["deliveries"]] == [own.subscription]
    assert sum(shown.json["counts"].values()) == 1
    assert str(world.other_company).encode() not in shown.body
    assert str(foreign.subscription).encode() not in shown.body


@pytest.mark.parametrize("company", ["", "?companyId=abc", "?companyId=0", "?companyId=", "?companyId=1.5"])
def test_an_operator_must_name_the_company_to_post_for(server: Server, company: str) -> None:
    answer = server.call("POST", f"/v1/webhooks{company}", {"callbackUrl": URL})
    assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, "companyId")


def test_no_one_posts_for_a_company_that_is_not_there(server: Server) -> None:
    assert server.call("POST", "/v1/webhooks?companyId=1999999999", {"callbackUrl": URL}).status == 404


@pytest.mark.parametrize(
    "auth", [{}, {"type": None}, {"type": "BASIC", "username": "a", "password": "b", "oauth2Scope": []}, [], "NONE", 0]
)
def test_a_credential_that_is_none_never_counts_as_one(server: Server, world: World, auth: object) -> None:
    body = {"callbackUrl": URL, "callbackAuth": auth}
    answer = server.call("POST", f"/v1/webhooks?companyId={world.company}", body)
    assert answer.status < 500
    if answer.status == 200:
        assert answer.json["callbackAuthType"] == "BASIC"
        server.call("DELETE", f"/v1/webhooks/{answer.json['id']}")
