"""Version 2: a list of its own in the same id space, and what a subscription may demand beyond the type."""

import json
from typing import Any

import pytest

from api.loopback import Answer, Server
from api.traffic import claim, publish
from api.world import World

URL = "https://api.example.com/hooks"
NOTE = "org.tsanet.connect.collaboration-request.note.created"
CLOUDEVENTS = "application/cloudevents+json"


class Member:
    """A member of a company of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.company: int = server.call("POST", "/v1/companies", {"name": "Acme"}).json["id"]
        path = f"/v1/companies/{self.company}/tokens"
        self._token = server.call("POST", path, {"name": "member", "role": "member"}).json["token"]

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        return self.server.call(method, path, body, token=self._token)

    def create(self, version: str = "v2", **members: Any) -> Any:
        answer = self.call("POST", f"/{version}/webhooks", {"callbackUrl": URL, **members})
        assert answer.status == 200, answer.body
        return answer.json

    def reached(self, **members: Any) -> set[int]:
        """Publish to this company; return the subscriptions that get a delivery, and check what is said of the rest."""
        if "recipients" in members:
            recipients = [{"companyId": self.company, **entry} for entry in members.pop("recipients")]
            event_id = publish(self.server, companyIds=None, recipients=recipients, **members)
        else:
            event_id = publish(self.server, self.company, **members)
        shown = self.call("GET", f"/v1/events/{event_id}").json
        reached = {delivery["subscriptionId"] for delivery in shown["deliveries"]}
        unmatched = {each["subscriptionId"]: each["reason"] for each in shown["notMatched"]}
        everything = {each["id"] for each in self.call("GET", "/v1/webhooks?payloadVersion=ANY").json}
        assert (reached | unmatched.keys(), reached & unmatched.keys()) == (everything, set())
        self.reasons = unmatched
        return reached


@pytest.fixture
def member(server: Server) -> Member:
    server.clock.advance(60)
    return Member(server)


# --- one id space, two lists -----------------------------------------------------------------------------------------


def test_the_two_lists_are_disjoint_and_any_shows_both(member: Member) -> None:
    first = [member.create("v1")["id"], member.create("v1", payloadVersion="RAW")["id"]]
    second = [member.create()["id"], member.create(payloadVersion="V2")["id"], member.create(payloadVersion=None)["id"]]

    def listed(path: str) -> list[int]:
        return [each["id"] for each in member.call("GET", path).json]

    assert listed("/v1/webhooks") == sorted(first)
    assert listed("/v2/webhooks") == sorted(second)
    assert listed("/v2/webhooks?payloadVersion=V1") == sorted(second), "unknown parameters are ignored"
    assert listed("/v1/webhooks?payloadVersion=ANY") == sorted(first + second)
    assert listed("/v1/webhooks?payloadVersion=RAW") == first[1:]


def test_a_subscription_of_version_2_is_shown_as_one(member: Member) -> None:
    created = member.create()
    assert created.pop("secret").startswith("whsec_")
    assert (created["payloadVersion"], created["contentType"]) == ("V2", CLOUDEVENTS)
    assert NOTE in created["eventTypes"]
    assert "org.tsanet.connect.collaboration-request.closed" in created["eventTypes"]
    assert "note.created" not in created["eventTypes"]
    assert not [name for name in created["eventTypes"] if "ping" in name or "delivery.dead" in name]
    assert (created["caseDirections"], created["partnerCompanyIds"]) == (None, None)
    assert member.call("GET", f"/v1/webhooks/{created['id']}").json == created
    assert member.call("GET", "/v2/webhooks").json == [created]
    assert member.call("GET", f"/v1/webhooks/{created['id']}/deliveries").json["content"] == []
    assert member.call("DELETE", f"/v1/webhooks/{created['id']}").status == 204
    assert member.call("GET", "/v2/webhooks").json == []


def test_an_operator_names_the_company_or_sees_all(server: Server, member: Member) -> None:
    mine = member.create()
    assert server.call("POST", "/v2/webhooks", {"callbackUrl": URL}).json["validationErrors"][0]["field"] == "companyId"
    made = server.call("POST", f"/v2/webhooks?companyId={member.company}", {"callbackUrl": URL}).json
    listed = server.call("GET", f"/v2/webhooks?companyId={member.company}").json
    assert {each["id"] for each in listed} == {mine["id"], made["id"]}
    part = server.call("GET", f"/v2/webhooks?limit=1&afterId={min(mine['id'], made['id']) - 1}").json
    assert [each["payloadVersion"] for each in part] == ["V2"]


def test_a_foreign_subscription_of_version_2_does_not_exist(server: Server, world: World, member: Member) -> None:
    created = member.create()
    for method in ("GET", "PATCH", "DELETE"):
        body: Any = {} if method == "PATCH" else None
        assert server.call(method, f"/v1/webhooks/{created['id']}", body, token=world.other_member).status == 404
    assert server.call("GET", "/v2/webhooks", token=world.other_member).json == []


@pytest.mark.parametrize(
    ("version", "members", "field"),
    [
        ("v2", {"payloadVersion": "V1"}, "payloadVersion"),
        ("v2", {"payloadVersion": "RAW"}, "payloadVersion"),
        ("v2", {"payloadVersion": "v2"}, "payloadVersion"),
        ("v1", {"payloadVersion": "V2"}, "payloadVersion"),
        ("v2", {"eventTypes": ["note.created"]}, "eventTypes[0]"),
        ("v1", {"eventTypes": [NOTE]}, "eventTypes[0]"),
        ("v2", {"contentType": "text/plain"}, "contentType"),
        ("v1", {"contentType": CLOUDEVENTS}, "contentType"),
        ("v2", {"caseDirections": ["inbound"]}, "caseDirections[0]"),
        ("v2", {"caseDirections": ["INBOUND", "BOTH"]}, "caseDirections[1]"),
        ("v2", {"caseDirections": "INBOUND"}, "caseDirections"),
        ("v2", {"caseDirections": [None]}, "caseDirections[0]"),
        ("v2", {"partnerCompanyIds": ["7"]}, "partnerCompanyIds[0]"),
        ("v2", {"partnerCompanyIds": [7, 1.5]}, "partnerCompanyIds[1]"),
        ("v2", {"partnerCompanyIds": 7}, "partnerCompanyIds"),
        ("v2", {"partnerCompanyIds": list(range(1001))}, "partnerCompanyIds"),
        ("v1", {"caseDirections": ["INBOUND"]}, "caseDirections"),
        ("v1", {"partnerCompanyIds": [7]}, "partnerCompanyIds"),
        ("v1", {"filter": []}, "filter"),
        ("v1", {"filter": "status"}, "filter"),
        ("v1", {"filter": {"or": [{"a": 1}, {"b": {"gte": None}}]}}, "filter.or[1].b.gte"),
        ("v2", {"filter": {"a": {"like": "x"}}}, "filter.a.like"),
    ],
)
def test_what_is_refused_is_named_and_not_stored(
    member: Member, version: str, members: dict[str, Any], field: str
) -> None:
    answer = member.call("POST", f"/{version}/webhooks", {"callbackUrl": URL, **members})
    assert (answer.status, [each["field"] for each in answer.json["validationErrors"]]) == (400, [field])
    assert member.call("GET", "/v1/webhooks?payloadVersion=ANY").json == []


def test_filters_are_shown_as_given_changed_and_taken_away(member: Member) -> None:
    demands: dict[str, Any] = {"caseDirections": ["OUTBOUND", "INBOUND"], "partnerCompanyIds": [-3, 7, 2**53 - 1]}
    created = member.create(**demands, contentType="application/json")
    path = f"/v1/webhooks/{created['id']}"
    assert {name: created[name] for name in demands} == demands
    assert created["contentType"] == "application/json"
    assert member.call("PATCH", path, {"contentType": None, "active": False}).json["contentType"] == CLOUDEVENTS
    assert {name: member.call("GET", path).json[name] for name in demands} == demands, "absent members stay"
    changed = member.call("PATCH", path, {"caseDirections": ["INBOUND"], "partnerCompanyIds": None}).json
    assert (changed["caseDirections"], changed["partnerCompanyIds"]) == (["INBOUND"], None)
    assert member.call("PATCH", path, {"caseDirections": []}).json["caseDirections"] is None, "none named is no filter"
    refused = member.call("PATCH", path, {"caseDirections": ["UP"]})
    assert (refused.status, refused.json["validationErrors"][0]["field"]) == (400, "caseDirections[0]")


def test_a_filter_is_shown_byte_for_byte_but_for_white_space(member: Member) -> None:
    body = b'{"callbackUrl":"%b","filter": {"amount": {"gte": 1.10, "lt": 1e2}, "\\u0061.b": "x"} }' % URL.encode()
    answer = member.call("POST", "/v1/webhooks", body)
    assert b'"filter":{"amount":{"gte":1.10,"lt":1e2},"\\u0061.b":"x"}' in answer.body
    path = f"/v1/webhooks/{answer.json['id']}"
    assert b'"filter":{"amount":{"gte":1.10,"lt":1e2},"\\u0061.b":"x"}' in member.call("GET", path).body
    assert member.call("PATCH", path, {"filter": None}).json["filter"] is None


# --- what is matched -------------------------------------------------------------------------------------------------


def test_a_recipients_direction_and_partner_are_what_the_filters_ask_for(member: Member) -> None:
    inbound = member.create(caseDirections=["INBOUND"])["id"]
    either = member.create(caseDirections=["INBOUND", "OUTBOUND"])["id"]
    partner = member.create(partnerCompanyIds=[7, 8])["id"]
    both = member.create(caseDirections=["OUTBOUND"], partnerCompanyIds=[8])["id"]
    all_of_2, all_of_1 = member.create()["id"], member.create("v1")["id"]
    always = {all_of_2, all_of_1}

    assert member.reached() == always
    assert member.reasons == {
        inbound: "not matched: case direction",
        either: "not matched: case direction",
        partner: "not matched: partner company",
        both: "not matched: case direction",
    }
    assert member.reached(recipients=[{"caseDirection": "INBOUND"}]) == always | {inbound, either}
    assert member.reached(recipients=[{"partnerCompanyId": 7}]) == always | {partner}
    assert member.reached(recipients=[{"partnerCompanyId": 9}]) == always
    outbound_8 = {"caseDirection": "OUTBOUND", "partnerCompanyId": 8}
    assert member.reached(recipients=[outbound_8]) == always | {either, partner, both}
    # repeats merge: one entry that meets all suffices, two that meet half each do not
    assert member.reached(recipients=[{}, {"caseDirection": "INBOUND"}, outbound_8]) == always | {
        *(inbound, either, partner, both)
    }
    halves = [{"caseDirection": "OUTBOUND", "partnerCompanyId": 7}, {"caseDirection": "INBOUND", "partnerCompanyId": 8}]
    assert member.reached(recipients=halves) == always | {inbound, either, partner}
    assert member.reasons == {both: "not matched: partner company"}


def test_a_filter_over_data_lets_through_what_it_says_in_every_version(member: Member) -> None:
    wanted: dict[str, Any] = {"filter": {"status": "OPEN", "amount": {"gte": 1.1}}}
    filtered = {
        *(member.create("v1", payloadVersion=shape, **wanted)["id"] for shape in ("V1", "STANDARD", "RAW")),
        member.create(**wanted)["id"],
    }
    every = member.create()["id"]
    for data in (b'{"status":"OPEN","amount":1.10}', b'{"amount":9007199254740993,"status":"OPEN"}'):
        assert member.reached(data=json.loads(data)) == filtered | {every}
    for other in ({"status": "OPEN"}, {"status": "OPEN", "amount": "2"}, {"status": "OPEN", "amount": 1}, {}):
        assert member.reached(data=other) == {every}
        assert set(member.reasons.values()) == {"not matched: filter"}


def test_a_change_counts_for_the_next_event_and_old_ones_keep_their_reasons(member: Member) -> None:
    subscription = member.create("v1", filter={"a": 2})["id"]
    before = publish(member.server, member.company, data={"a": 1})
    member.call("PATCH", f"/v1/webhooks/{subscription}", {"filter": {"a": 1}})
    assert member.reached(data={"a": 1}) == {subscription}
    assert member.reached(data={"a": 2}) == set()
    member.call("PATCH", f"/v1/webhooks/{subscription}", {"filter": None})
    assert member.reached(data={"a": 3}) == {subscription}
    assert member.call("GET", f"/v1/events/{before}").json["notMatched"] == [
        {"subscriptionId": subscription, "reason": "not matched: filter"}
    ]


def test_the_type_is_the_first_reason(member: Member) -> None:
    subscription = member.create(eventTypes=[NOTE], caseDirections=["INBOUND"], filter={"a": 2})["id"]
    assert member.reached(eventType="collaboration-request.closed") == set()
    assert member.reasons == {subscription: "not matched: event type"}
    assert member.reached(recipients=[{"caseDirection": "INBOUND"}]) == set()
    assert member.reasons == {subscription: "not matched: filter"}


def test_a_delivery_of_version_2_carries_its_name_shape_and_source(member: Member) -> None:
    subscription = member.create(eventTypes=[NOTE])["id"]
    assert member.reached(data={"requestToken": "t"}) == {subscription}
    (claimed,) = [each for each in claim(member.server) if each.subscription_id == subscription]
    assert (claimed.type_name, claimed.payload_version, claimed.source) == (NOTE, "V2", "test")
