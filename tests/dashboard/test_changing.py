"""Everything that a page changes, by forms alone: it is done by the API, asked for first, and refused at its field."""

import re

import pytest

from api.loopback import Server
from api.traffic import claim, publish, settle
from api.world import World
from dashboard.browsing import Browser
from dashboard.test_pages import assert_inert, subscribe

URL = "https://api.example.com/hooks"


def created(browser: Browser, **fields: str) -> str:
    """Create a subscription by the form; return the path of its page."""
    answer = browser.submit("/subscriptions/new", "/subscriptions/new", callbackUrl=URL, **fields)
    assert answer.status == 200, answer.body
    found = re.search(rb'href="(/subscriptions/\d+)">I have stored', answer.body)
    assert found
    return found[1].decode()


def test_a_secret_is_shown_once_and_kept_by_no_cache(member: Browser, server: Server) -> None:
    answer = member.submit("/subscriptions/new", "/subscriptions/new", callbackUrl=URL, which="all")
    found = re.search(rb"whsec_[A-Za-z0-9+/=]+", answer.body)
    assert found
    assert answer.headers["cache-control"] == "no-store"
    path = created(member)
    for page in (path, f"{path}/edit", "/subscriptions"):
        assert b"whsec_" not in member.get(page).body
    assert member.get("/subscriptions/new").body.count(b"whsec_") == 0
    assert server.call("GET", f"/v1/webhooks/{path.rpartition('/')[2]}").json["callbackUrl"] == URL


def test_an_operator_names_the_company(operator: Browser, server: Server, world: World) -> None:
    path = created(operator, companyId=str(world.other_company))
    shown = server.call("GET", f"/v1/webhooks/{path.rpartition('/')[2]}").json
    assert shown["companyId"] == world.other_company


def test_every_field_of_the_form_arrives(member: Browser, server: Server) -> None:
    path = created(
        member,
        payloadVersion="V2",
        which="these",
        eventTypes="org.tsanet.connect.collaboration-request.note.created",
        retries="custom",
        delays="5, 10",
        timeoutSeconds="7",
        maxInFlight="3",
        ratePerSecond="9",
        ordered="on",
        filter='{"priority": "P1"}',
        headers="X-Team: support",
        auth="BASIC",
        username="u",
        password="p",
    )
    shown = server.call("GET", f"/v1/webhooks/{path.rpartition('/')[2]}").json
    assert shown["payloadVersion"] == "V2"
    assert shown["eventTypes"] == ["org.tsanet.connect.collaboration-request.note.created"]
    assert shown["retryDelaysSeconds"] == [5, 10]
    assert (shown["timeoutSeconds"], shown["maxInFlight"], shown["ratePerSecond"]) == (7, 3, 9)
    assert shown["ordered"] is True
    assert shown["filter"] == {"priority": "P1"}
    assert shown["headers"] == ["X-Team"]
    assert shown["callbackAuthType"] == "BASIC"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"callbackUrl": "https://10.4.0.12/hooks"}, "callbackUrl-error"),
        ({"timeoutSeconds": "soon"}, "timeoutSeconds-error"),
        ({"retries": "custom", "delays": "0"}, "retryDelaysSeconds"),
        ({"filter": "{"}, "filter-error"),
        ({"headers": "nothing"}, "headers-error"),
        ({"which": "these"}, "choose at least one event type"),
        ({"auth": "BASIC"}, "callbackAuth"),
        ({"payloadVersion": "V9"}, "payloadVersion"),
    ],
)
def test_what_is_refused_is_told_and_what_was_typed_is_kept(member: Browser, fields: dict[str, str], said: str) -> None:
    typed = {"callbackUrl": "https://typed.example.com/", **fields}
    answer = member.submit("/subscriptions/new", "/subscriptions/new", **typed)
    assert answer.status == 400
    assert said in answer.body.decode()
    assert typed["callbackUrl"] in answer.body.decode()


def test_a_subscription_is_edited(member: Browser, server: Server) -> None:
    path = created(member, filter='{"a": 1}', auth="BEARER", token="t")
    assert member.submit(f"{path}/edit", f"{path}/edit", timeoutSeconds="12").status == 303
    shown = server.call("GET", f"/v1/webhooks/{path.rpartition('/')[2]}").json
    assert shown["timeoutSeconds"] == 12
    assert shown["filter"] == {"a": 1}
    assert shown["callbackAuthType"] == "BEARER"


def test_pause_activate_ping_rotate_and_delete(member: Browser, server: Server) -> None:
    path = created(member)
    assert member.submit(f"{path}/pause", f"{path}/pause").status == 303
    page = member.see(path)
    assert "Inactive since" in page.text
    assert member.submit(path, f"{path}/activate").status == 303
    answer = member.submit(path, f"{path}/ping")
    assert answer.status == 303
    assert member.get(answer.headers["location"]).status == 200
    assert b"whsec_" in member.submit(f"{path}/rotate", f"{path}/rotate").body
    assert "cannot be undone" in member.see(f"{path}/delete").text
    assert member.submit(f"{path}/delete", f"{path}/delete").status == 303
    assert member.get(path).status == 404
    claim(server)


def test_a_dead_delivery_is_sent_again(member: Browser, server: Server, world: World) -> None:
    subscription = subscribe(server, world.company)
    event = publish(server, world.company)
    (claimed,) = [each for each in claim(server) if each.subscription_id == subscription]
    settle(server, claimed, status=500)
    path = f"/subscriptions/{subscription}/deliveries/{claimed.id}"
    assert "Dead after 1 attempt" in member.see(path).text
    assert member.submit(f"{path}/redeliver", f"{path}/redeliver").status == 303
    assert "pending" in member.see(f"/events/{event}").text.lower()
    claim(server)


def test_a_replay_is_started_and_cancelled(member: Browser, server: Server, world: World) -> None:
    subscription = subscribe(server, world.company)
    answer = member.submit(f"/subscriptions/{subscription}/replay", f"/subscriptions/{subscription}/replay")
    assert answer.status == 303, answer.body
    page = member.see(answer.headers["location"])
    assert "eplay" in page.text
    wrong = member.submit(
        f"/subscriptions/{subscription}/replay", f"/subscriptions/{subscription}/replay", **{"from": "x", "to": "y"}
    )
    assert wrong.status == 400


def test_an_operator_makes_companies_and_tokens(operator: Browser, server: Server) -> None:
    answer = operator.submit("/companies", "/companies", name="<b>Bold & Co</b>")
    assert answer.status == 303
    path = answer.headers["location"]
    assert "<b>Bold & Co</b>" in operator.see(path).text
    made = operator.submit(path, f"{path}/tokens", name="night", role="viewer")
    found = re.search(rb"hkl_view_[\w-]+", made.body)
    assert found
    assert Browser(server).signed_in(found[0].decode()).get("/").status == 200
    (revoke,) = [link["href"] for link in operator.see(path).of("a") if "/revoke" in (link.get("href") or "")]
    assert revoke
    assert operator.submit(revoke, revoke).status == 303
    assert "No token" in operator.see(path).text
    assert operator.submit("/companies", "/companies", name=" ").status == 400
    assert b"hkl_op_" in operator.submit("/tokens", "/tokens", name="mine", role="operator").body


READ_BY_ALL = ["/", "/events", "/subscriptions", "/event-types", "/events?state=dead&span=1h&eventType=note.created"]
OPERATORS = ["/companies", "/tokens", "/audit"]
WRITERS = ["/subscriptions/new"]


@pytest.mark.parametrize("path", [*READ_BY_ALL, *OPERATORS, *WRITERS])
def test_pages_are_for_whom_they_are_for(operator: Browser, member: Browser, viewer: Browser, path: str) -> None:
    for browser, is_allowed in (
        (operator, True),
        (member, path not in OPERATORS),
        (viewer, path in READ_BY_ALL),
    ):
        page = browser.see(path, 200 if is_allowed else 404)
        assert_inert(page)
        ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
        assert len(ids) == len(set(ids)), path


def test_a_viewer_sees_no_button_and_can_press_none(viewer: Browser, server: Server, world: World) -> None:
    subscription = subscribe(server, world.company)
    page = viewer.see(f"/subscriptions/{subscription}")
    assert [action for action, _ in page.forms if action.startswith("/subscriptions")] == []
    key = next(fields["form_key"] for action, fields in viewer.see("/sign-out").forms if action == "/sign-out")
    for action in ("pause", "delete", "ping", "rotate", "activate", "edit", "replay"):
        assert viewer.post(f"/subscriptions/{subscription}/{action}", {"form_key": key}).status == 404
    assert server.call("GET", f"/v1/webhooks/{subscription}").json["active"] is True


def test_a_stranger_can_change_nothing(stranger: Browser, server: Server, world: World) -> None:
    subscription = subscribe(server, world.company)
    key = next(fields["form_key"] for action, fields in stranger.see("/sign-out").forms if action == "/sign-out")
    for action in ("pause", "delete", "ping", "rotate", "activate", "edit", "replay"):
        assert stranger.get(f"/subscriptions/{subscription}/{action}").status == 404
        answer = stranger.post(f"/subscriptions/{subscription}/{action}", {"form_key": key})
        assert answer.status in {400, 404}, (action, answer.body)
    assert server.call("GET", f"/v1/webhooks/{subscription}").json["active"] is True


def test_a_failing_subscription_is_told_first(member: Browser, server: Server, world: World) -> None:
    subscription = subscribe(server, world.company, callbackUrl="https://failing.example.com/")
    publish(server, world.company)
    for claimed in claim(server):
        settle(server, claimed, status=500 if claimed.subscription_id == subscription else 200, retry_ms=None)
    page = member.see("/")
    assert "1 subscription is failing" in page.text
    assert "failing.example.com" in page.text
    assert "1 failed attempt in a row" in member.see(f"/subscriptions/{subscription}").text
    listed = member.see("/subscriptions").text
    assert listed.index("failing.example.com") < listed.index("api.example.com")


def test_whatever_is_at_hand_is_found(member: Browser, stranger: Browser, server: Server, world: World) -> None:
    event = publish(server, world.company)
    assert member.get(f"/find?q=+{event}+").headers["location"] == f"/events/{event}"
    assert member.get("/find?q=note.created").headers["location"] == "/events?eventType=note.created"
    for text in (event, "<script>", "%00", "a" * 3000):
        page = stranger.see(f"/find?q={text}", 404)
        assert "No event has this id" in page.text
