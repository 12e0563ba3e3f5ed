"""Who may do what, and that another company's things cannot be told from things that do not exist.

Routes and roles are read off `/openapi.json`, so one that is added is covered, or fails here.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from .harness import Answer, Client, Server
from .receiver import Receiver

METHODS = {"get", "post", "put", "patch", "delete"}
LONG_AGO = {"from": "2024-01-01T00:00:00Z", "to": "2024-01-02T00:00:00Z"}
BODIES: Mapping[str, Any] = {
    "POST /v1/companies": {"name": "Made"},
    "PATCH /v1/companies/{id}": {"name": "Renamed"},
    "POST /v1/companies/{id}/tokens": {"name": "made", "role": "viewer"},
    "POST /v1/companies/{id}/accounts": {"username": "made"},
    "POST /v1/tokens": {"name": "made", "role": "publisher"},
    "PUT /v1/event-types/{name}": {},
    "POST /v1/events": {"eventType": "note.created", "companyIds": [0], "data": {}},
    "POST /v1/events/batch": {"events": [{"eventType": "note.created", "companyIds": [0], "data": {}}]},
    "POST /v1/webhooks": {"callbackUrl": "http://127.0.0.1:9000/"},
    "POST /v2/webhooks": {"callbackUrl": "http://127.0.0.1:9000/"},
    "PATCH /v1/webhooks/{id}": {"timeoutSeconds": 3},
    "POST /v1/webhooks/{id}/secret": {},
    "POST /v1/webhooks/{id}/ping": {},
    "POST /v1/webhooks/{id}/deliveries/{deliveryId}/redeliver": {},
    "POST /v1/webhooks/{id}/replay": LONG_AGO,
    "POST /v1/replays": {**LONG_AGO, "status": "failed"},
    "POST /v1/companies/{id}/portal-links": {},
}
MISSING_ID = 2**31 - 2


class Owned(NamedTuple):
    """A company with one of each thing that a company can own."""

    company: int
    subscription: int
    delivery: int
    event: str
    token: int
    account: int
    replay: int
    clients: Mapping[str, Client]

    def filled(self, path: str) -> str:
        """Put our ids into a path of the API's description."""
        ids = {"companies": self.company, "webhooks": self.subscription, "replays": self.replay, "events": self.event}
        names = {
            "id": ids.get(path.split("/")[2], MISSING_ID),
            "deliveryId": self.delivery,
            "eventId": self.event,
            "tokenId": self.token,
            "accountId": self.account,
            "name": "note.created",
        }
        return path.format(**names)


def owned(operator: Client, receiver: Receiver) -> Owned:
    company = operator.company()
    subscription = operator.made("POST", f"/v1/webhooks?companyId={company}", {"callbackUrl": receiver.url()})
    event_id = operator.publish(company)
    receiver.wait(lambda arrivals: any(arrival.event_id == event_id for arrival in arrivals), event_id)
    (delivery,) = operator.made("GET", f"/v1/events/{event_id}")["deliveries"]
    token = operator.made("POST", f"/v1/companies/{company}/tokens", {"name": "spare", "role": "viewer"})
    account = operator.made("POST", f"/v1/companies/{company}/accounts", {"username": f"spare of {company}"})
    replay = operator.made("POST", f"/v1/webhooks/{subscription['id']}/replay", LONG_AGO)
    installation = {
        role: operator.as_(operator.made("POST", "/v1/tokens", {"name": role, "role": role})["token"])
        for role in ("operator", "publisher")
    }
    of_company = {role: operator.member_of(company, role) for role in ("member", "viewer")}
    return Owned(
        company,
        subscription["id"],
        delivery["id"],
        event_id,
        token["id"],
        account["id"],
        replay["id"],
        {**installation, **of_company},
    )


@pytest.fixture(scope="module")
def shared_operator(server: Server) -> Iterator[Client]:
    client = server.client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def pair(shared_operator: Client) -> Iterator[tuple[Owned, Owned]]:
    receiver = Receiver().start()
    yield owned(shared_operator, receiver), owned(shared_operator, receiver)
    receiver.close()


def operations(client: Client) -> list[tuple[str, str, set[str]]]:
    """List method, path and the roles that may, of everything under /v1 and /v2."""
    found = []
    for path, methods in client.made("GET", "/openapi.json")["paths"].items():
        for method in METHODS & methods.keys():
            if path.startswith(("/v1", "/v2")) and methods[method]["security"]:
                roles = methods[method]["description"].removeprefix("For: ").rstrip(".").split(", ")
                found.append((method.upper(), path, set(roles)))
    return found


def said(answer: Answer, path: str) -> tuple[int, object]:
    """Return an answer without what must differ: its id and the path that it repeats."""
    assert "x-request-id" in answer.headers
    if not answer.body:
        return answer.status, None
    problem = json.loads(answer.body)
    if answer.status >= 400:
        assert problem.pop("instance") == path.partition("?")[0]
    return answer.status, problem


def test_a_foreign_id_answers_on_every_route_as_one_that_does_not_exist(pair: tuple[Owned, Owned]) -> None:
    ours, theirs = pair
    none = MISSING_ID
    nothing = Owned(none, none, none, "evt_00000000000000000000000000", none, none, none, {})
    tried = 0
    for method, path, roles in operations(ours.clients["operator"]):
        for role in {"member", "viewer"} & roles:
            if not {"{id}", "{deliveryId}", "{eventId}", "{tokenId}"} & set(path.split("/")):
                continue
            client, body = ours.clients[role], BODIES.get(f"{method} {path}")
            foreign, missing = theirs.filled(path), nothing.filled(path)
            expected = said(client.call(method, missing, body), missing)
            assert expected[0] == 404, f"{method} {missing} as {role}"
            for query in ("", f"?companyId={theirs.company}"):
                assert said(client.call(method, foreign + query, body), foreign) == expected, (
                    f"{method} {path} as {role}"
                )
            if "{deliveryId}" in path:
                mixed = ours._replace(delivery=theirs.delivery).filled(path)
                assert said(client.call(method, mixed, body), mixed) == expected
            tried += 1
    assert tried >= 8
    kept = ours.clients["operator"].made("GET", f"/v1/webhooks/{theirs.subscription}")
    assert (kept["active"], kept["timeoutSeconds"]) == (True, 30)


@pytest.mark.parametrize("word", ["0", "-1", "1.0", "1e3", "abc", "99999999999999999999", "%31x", "१"])
def test_an_id_that_is_no_integer_in_range_does_not_exist(pair: tuple[Owned, Owned], word: str) -> None:
    member = pair[0].clients["member"]
    encoded = "".join(character if character.isascii() else "%E0%A5%A7" for character in word)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries")):
        assert member.call(method, f"/v1/webhooks/{encoded}{path}").status == 404


def test_a_companys_lists_hold_nothing_of_another(pair: tuple[Owned, Owned]) -> None:
    ours, theirs = pair
    for role in ("member", "viewer"):
        for path in ("/v1/webhooks", "/v1/events", f"/v1/webhooks/{ours.subscription}/deliveries", "/v1/me"):
            for query in ("", f"?companyId={theirs.company}"):
                answer = ours.clients[role].call("GET", path + query)
                assert answer.status == 200
                for word in (theirs.company, theirs.subscription, theirs.event, theirs.delivery):
                    assert str(word).encode() not in answer.body


def test_each_role_may_what_is_documented_and_nothing_else(shared_operator: Client, receiver: Receiver) -> None:
    for method, path, roles in operations(shared_operator):
        things = owned(shared_operator, receiver)
        body = json.loads(json.dumps(BODIES.get(f"{method} {path}")).replace("[0]", f"[{things.company}]"))
        if method in {"POST", "PUT", "PATCH"}:
            assert body is not None, f"a body for {method} {path} is missing in this test"
        # Those who may not go first: what they try must leave everything as it was.
        for role in sorted(things.clients, key=lambda role: role in roles):
            target = things.filled(path)
            if method == "POST" and role == "operator" and path.startswith(("/v1/webhooks", "/v2/webhooks")):
                target += f"?companyId={things.company}"
            answer = things.clients[role].call(method, target, body)
            if role not in roles:
                assert (answer.status, method, path, role) == (403, method, path, role)
                assert answer.json["status"] == 403
            elif method == "DELETE" or path.endswith("/redeliver"):
                # The first who may has done it: it is gone, or it may be under way again.
                assert answer.status in {202, 204, 404, 409}, f"{method} {path} as {role}: {answer.status}"
            else:
                assert 200 <= answer.status <= 299, f"{method} {path} as {role}: {answer.status} {answer.body!r}"
        if method == "DELETE" and path == "/v1/event-types/{name}":
            shared_operator.made("PUT", "/v1/event-types/note.created", {"v2Name": None})


def test_every_path_needs_a_token_and_says_the_same_whatever_is_wrong_with_it(pair: tuple[Owned, Owned]) -> None:
    ours, _ = pair
    shown = ours.clients["member"].token
    assert shown is not None
    wrong = [
        None,
        "",
        "x" * 40,
        shown[:-1],
        shown + "0",
        shown.upper(),
        shown[:20] + ("A" if shown[20] != "A" else "B") + shown[21:],
    ]
    for method, path, _ in operations(ours.clients["operator"]):
        target = ours.filled(path)
        answers = [ours.clients["member"].as_(token).call(method, target) for token in wrong]
        assert {answer.status for answer in answers} == {401}
        assert {answer.headers["www-authenticate"].split(" ")[0] for answer in answers} == {"Bearer"}
        assert len({answer.body for answer in answers}) == 1
    assert ours.clients["member"].as_(None).call("GET", "/v1/no/such/path").status == 401


def test_a_revoked_token_ends_within_a_second(shared_operator: Client) -> None:
    company = shared_operator.company()
    made = shared_operator.made("POST", f"/v1/companies/{company}/tokens", {"name": "short", "role": "member"})
    member = shared_operator.as_(made["token"])
    assert member.call("GET", "/v1/webhooks").status == 200
    shared_operator.made("DELETE", f"/v1/companies/{company}/tokens/{made['id']}")
    assert member.call("GET", "/v1/webhooks").status == 401
