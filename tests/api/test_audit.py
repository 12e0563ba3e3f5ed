"""The audit: no route that changes anything gets past it, and nothing secret gets into it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from api.loopback import Server, StorageIn
from api.traffic import claim, publish, settle
from api.world import OPERATOR_TOKEN, World
from hookline.api.app import ROUTES

PASSWORD = "correct horse battery staple"
CALLBACK = {"callbackUrl": "https://receiver.example.com/in"}

BY_MEMBERS = {"subscr", "delive", "replay"}
"""How actions begin of which a company has its own say."""
UNTOLD = {
    ("POST", "/v1/events"): "publishing, which the events themselves tell of",
    ("POST", "/v1/events/batch"): "likewise",
    ("POST", "/v1/webhooks/{id}/ping"): "publishes an event",
    ("POST", "/v1/login"): "a token for an hour, of an account that is told of",
    ("POST", "/oauth2/token"): "likewise",
}
"""Routes that are no GET and leave no row, and why."""


class Scene:
    """Calls as the operator and as the first company's member, and things to change."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.world = World.build(server.call)
        self.company = self.world.company

    def operator(self, method: str, path: str, body: Any = None) -> Any:
        return self._done(method, path, body, OPERATOR_TOKEN)

    def member(self, method: str, path: str, body: Any = None) -> Any:
        return self._done(method, path, body, self.world.tokens["member"])

    def new_company(self) -> int:
        company_id: int = self.operator("POST", "/v1/companies", {"name": "New"})["id"]
        return company_id

    def new_subscription(self) -> int:
        subscription_id: int = self.member("POST", "/v1/webhooks", CALLBACK)["id"]
        return subscription_id

    def ended(self) -> tuple[int, str, int]:
        """A subscription with one event and its delivery, which has succeeded."""
        subscription_id = self.new_subscription()
        event_id = publish(self.server, self.company)
        (claimed,) = [each for each in claim(self.server) if each.subscription_id == subscription_id]
        settle(self.server, claimed)
        return subscription_id, event_id, claimed.id

    def audit(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.server.call("GET", "/v1/audit").json["items"]
        return items

    def _done(self, method: str, path: str, body: Any, token: str) -> Any:
        answer = self.server.call(method, path, body, token=token)
        assert answer.status < 300, answer.body
        return answer.json if answer.body else None


class Told(NamedTuple):
    """What a change leaves."""

    action: str
    target: object
    company_id: int | None


def company_created(scene: Scene) -> Told:
    company_id = scene.new_company()
    return Told("company.created", company_id, company_id)


def company_changed(scene: Scene) -> Told:
    scene.operator("PATCH", f"/v1/companies/{scene.company}", {"retentionDays": 7})
    return Told("company.changed", scene.company, scene.company)


def company_deleted(scene: Scene) -> Told:
    company_id = scene.new_company()
    scene.operator("DELETE", f"/v1/companies/{company_id}")
    return Told("company.deleted", company_id, company_id)


def account_created(scene: Scene) -> Told:
    body = {"username": f"somebody of {scene.new_company()}", "password": PASSWORD}
    made = scene.operator("POST", f"/v1/companies/{scene.company}/accounts", body)
    return Told("account.created", made["id"], scene.company)


def account_deleted(scene: Scene) -> Told:
    account_id = account_created(scene).target
    scene.operator("DELETE", f"/v1/companies/{scene.company}/accounts/{account_id}")
    return Told("account.deleted", account_id, scene.company)


def account_signed_out(scene: Scene) -> Told:
    account = account_created(scene).target
    name = scene.operator("GET", f"/v1/companies/{scene.company}/accounts/{account}")["username"]
    token = scene.operator("POST", "/v1/login", {"username": name, "password": PASSWORD})["accessToken"]
    assert scene.server.call("DELETE", "/v1/me/tokens", token=token).status == 204
    return Told("account.signed-out", account, scene.company)


def portal_link_created(scene: Scene) -> Told:
    scene.operator("POST", f"/v1/companies/{scene.company}/portal-links", {"role": "member"})
    return Told("portal-link.created", scene.company, scene.company)


def member_token_created(scene: Scene) -> Told:
    made = scene.operator("POST", f"/v1/companies/{scene.company}/tokens", {"name": "new", "role": "viewer"})
    return Told("token.created", made["id"], scene.company)


def member_token_revoked(scene: Scene) -> Told:
    token_id = member_token_created(scene).target
    scene.operator("DELETE", f"/v1/companies/{scene.company}/tokens/{token_id}")
    return Told("token.revoked", token_id, scene.company)


def token_created(scene: Scene) -> Told:
    made = scene.operator("POST", "/v1/tokens", {"name": "new", "role": "publisher"})
    return Told("token.created", made["id"], None)


def token_revoked(scene: Scene) -> Told:
    token_id = token_created(scene).target
    scene.operator("DELETE", f"/v1/tokens/{token_id}")
    return Told("token.revoked", token_id, None)


def subscription_created(scene: Scene) -> Told:
    return Told("subscription.created", scene.new_subscription(), scene.company)


def subscription_of_version_2_created(scene: Scene) -> Told:
    return Told("subscription.created", scene.member("POST", "/v2/webhooks", CALLBACK)["id"], scene.company)


def subscription_changed(scene: Scene) -> Told:
    subscription_id = scene.new_subscription()
    scene.member("PATCH", f"/v1/webhooks/{subscription_id}", {"active": False})
    return Told("subscription.changed", subscription_id, scene.company)


def subscription_deleted(scene: Scene) -> Told:
    subscription_id = scene.new_subscription()
    scene.member("DELETE", f"/v1/webhooks/{subscription_id}")
    return Told("subscription.deleted", subscription_id, scene.company)


def secret_rotated(scene: Scene) -> Told:
    subscription_id = scene.new_subscription()
    scene.member("POST", f"/v1/webhooks/{subscription_id}/secret")
    return Told("subscription.secret-rotated", subscription_id, scene.company)


def redelivered(scene: Scene) -> Told:
    subscription_id, _, delivery_id = scene.ended()
    scene.member("POST", f"/v1/webhooks/{subscription_id}/deliveries/{delivery_id}/redeliver")
    return Told("delivery.redelivered", delivery_id, scene.company)


SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z", "status": "succeeded"}


def replay_started(scene: Scene) -> Told:
    subscription_id, _, _ = scene.ended()
    made = scene.member("POST", f"/v1/webhooks/{subscription_id}/replay", SPAN)
    return Told("replay.started", made["id"], scene.company)


def replay_over_all_started(scene: Scene) -> Told:
    return Told("replay.started", scene.operator("POST", "/v1/replays", SPAN)["id"], None)


def replay_cancelled(scene: Scene) -> Told:
    replay_id = replay_started(scene).target
    scene.member("DELETE", f"/v1/replays/{replay_id}")
    return Told("replay.cancelled", replay_id, scene.company)


def event_erased(scene: Scene) -> Told:
    event_id = publish(scene.server, scene.company)
    scene.operator("DELETE", f"/v1/events/{event_id}/data")
    return Told("event.erased", event_id, None)


def event_type_put(scene: Scene) -> Told:
    scene.operator("PUT", "/v1/event-types/order.paid", {})
    return Told("event-type.put", "order.paid", None)


def event_type_deleted(scene: Scene) -> Told:
    event_type_put(scene)
    scene.operator("DELETE", "/v1/event-types/order.paid")
    return Told("event-type.deleted", "order.paid", None)


CHANGES: dict[tuple[str, str], Callable[[Scene], Told]] = {
    ("POST", "/v1/companies"): company_created,
    ("PATCH", "/v1/companies/{id}"): company_changed,
    ("DELETE", "/v1/companies/{id}"): company_deleted,
    ("POST", "/v1/companies/{id}/accounts"): account_created,
    ("DELETE", "/v1/companies/{id}/accounts/{accountId}"): account_deleted,
    ("DELETE", "/v1/me/tokens"): account_signed_out,
    ("POST", "/v1/companies/{id}/portal-links"): portal_link_created,
    ("POST", "/v1/companies/{id}/tokens"): member_token_created,
    ("DELETE", "/v1/companies/{id}/tokens/{tokenId}"): member_token_revoked,
    ("POST", "/v1/tokens"): token_created,
    ("DELETE", "/v1/tokens/{tokenId}"): token_revoked,
    ("POST", "/v1/webhooks"): subscription_created,
    ("POST", "/v2/webhooks"): subscription_of_version_2_created,
    ("PATCH", "/v1/webhooks/{id}"): subscription_changed,
    ("DELETE", "/v1/webhooks/{id}"): subscription_deleted,
    ("POST", "/v1/webhooks/{id}/secret"): secret_rotated,
    ("POST", "/v1/webhooks/{id}/deliveries/{deliveryId}/redeliver"): redelivered,
    ("POST", "/v1/webhooks/{id}/replay"): replay_started,
    ("POST", "/v1/replays"): replay_over_all_started,
    ("DELETE", "/v1/replays/{id}"): replay_cancelled,
    ("DELETE", "/v1/events/{eventId}/data"): event_erased,
    ("PUT", "/v1/event-types/{name}"): event_type_put,
    ("DELETE", "/v1/event-types/{name}"): event_type_deleted,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, storage_in: StorageIn) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("audit"), storage_in=storage_in)
    yield server
    server.close()


@pytest.fixture(scope="module")
def scene(server: Server) -> Scene:
    return Scene(server)


def test_every_route_that_changes_something_is_told_of() -> None:
    changing = {(route.method, route.path) for route in ROUTES if route.method != "GET"}
    assert changing == CHANGES.keys() | UNTOLD.keys(), "add a change to CHANGES, and pass `change=` to its verb"


@pytest.mark.parametrize("route", CHANGES, ids=" ".join)
def test_a_change_leaves_who_what_and_when(scene: Scene, route: tuple[str, str]) -> None:
    scene.server.clock.advance(60)
    told = CHANGES[route](scene)
    entry = scene.audit()[0]
    assert (entry["action"], entry["target"], entry["companyId"]) == (told.action, str(told.target), told.company_id)
    assert entry["actor"].endswith("(member)") == (route[1] != "/v1/replays" and told.action[:6] in BY_MEMBERS)
    assert (
        entry["time"] == scene.server.call("POST", "/v1/tokens", {"name": "now", "role": "publisher"}).json["createdAt"]
    )


def test_what_is_refused_or_only_looked_at_leaves_nothing(scene: Scene) -> None:
    subscription_id = scene.new_subscription()
    before = scene.audit()
    for method, path, body in [
        ("GET", "/v1/companies", None),
        ("POST", "/v1/companies", {"name": ""}),
        ("PATCH", "/v1/companies/5", {"name": "x"}),
        ("DELETE", f"/v1/companies/{scene.company}", None),
        ("DELETE", "/v1/tokens/5", None),
        ("PUT", "/v1/event-types/webhook.ping", {}),
        ("DELETE", "/v1/event-types/unknown", None),
        ("DELETE", "/v1/events/unknown/data", None),
        ("PATCH", f"/v1/webhooks/{subscription_id}", {"callbackUrl": "nonsense"}),
        ("POST", f"/v1/webhooks/{subscription_id}/deliveries/1/redeliver", None),
    ]:
        scene.server.call(method, path, body)
    assert scene.audit() == before


def test_only_an_operator_reads_it(scene: Scene) -> None:
    for role in ("member", "viewer", "publisher"):
        assert scene.server.call("GET", "/v1/audit", token=scene.world.tokens[role]).status == 403


def test_it_is_read_page_by_page_newest_first(scene: Scene) -> None:
    made = [str(scene.new_company()) for _ in range(5)]
    first = scene.server.call("GET", "/v1/audit?limit=3").json
    second = scene.server.call("GET", f"/v1/audit?limit=3&cursor={first['next']}").json
    assert [entry["target"] for entry in first["items"] + second["items"]][:5] == made[::-1]
    assert set(first["items"][0]) == {"actor", "action", "target", "companyId", "time"}


def test_nothing_secret_is_in_it(scene: Scene) -> None:
    body = {"username": "a new one", "password": PASSWORD}
    secrets = [
        PASSWORD,
        OPERATOR_TOKEN,
        scene.operator("POST", f"/v1/companies/{scene.company}/accounts", body)["clientSecret"],
        scene.operator("POST", "/v1/tokens", {"name": "p", "role": "publisher"})["token"],
        scene.operator("POST", f"/v1/companies/{scene.company}/portal-links")["url"].partition("#")[2],
        scene.member("POST", "/v1/webhooks", CALLBACK)["secret"],
    ]
    written = scene.server.call("GET", "/v1/audit?limit=200").body.decode()
    assert [secret for secret in secrets if secret in written] == []


def test_whoever_signed_in_is_named_by_the_account(scene: Scene) -> None:
    body = {"username": "Ada", "password": PASSWORD}
    account = scene.operator("POST", f"/v1/companies/{scene.company}/accounts", body)
    token = scene.operator("POST", "/v1/login", body)["accessToken"]
    assert scene.server.call("POST", "/v1/webhooks", CALLBACK, token=token).status == 200
    assert scene.audit()[0]["actor"] == f"account {account['id']} (Ada)"
    assert scene.audit()[1]["actor"] == "operator token"
