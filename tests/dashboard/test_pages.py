"""Every page without script: what it answers, what it may load, and what of strangers' text it lets through."""

import re

import pytest

from api.loopback import Server
from api.traffic import claim, publish, settle
from api.world import World
from dashboard.browsing import Browser, Seen
from hookline.errors import Unavailable
from hookline.model import ErrorClass

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&#x27;{{7*7}}\u202e\x00]]>"


def subscribe(server: Server, company: int, **members: object) -> int:
    body = {"callbackUrl": "https://api.example.com/hooks", **members}
    answer = server.call("POST", f"/v1/webhooks?companyId={company}", body)
    assert answer.status == 200, answer.body
    number: int = answer.json["id"]
    return number


class Scene:
    """An event with a delivery that failed twice and then succeeded, and one that matched nothing."""

    def __init__(self, server: Server, world: World) -> None:
        self.subscription = subscribe(server, world.company)
        self.other = subscribe(server, world.company, eventTypes=["collaboration-request.created"])
        self.event = publish(server, world.company, data={"requestToken": "deadbeef", "note": HOSTILE})
        self.delivery = 0
        for status, retry in ((503, 1000), (None, 1000), (200, None)):
            (claimed,) = claim(server)
            settle(
                server,
                claimed,
                status=status,
                error=None if status else ErrorClass.TIMEOUT,
                retry_ms=retry,
                response_body=HOSTILE.encode(),
            )
            server.clock.advance(2)
            self.delivery = claimed.id

    @property
    def delivery_path(self) -> str:
        return f"/subscriptions/{self.subscription}/deliveries/{self.delivery}"


@pytest.fixture(scope="module")
def scene(server: Server, world: World) -> Scene:
    return Scene(server, world)


def test_an_event_says_where_each_delivery_is(operator: Browser, scene: Scene) -> None:
    page = operator.see(f"/events/{scene.event}")
    assert "The delivery succeeded" in page.text
    assert "200 in 12\u00a0ms at the third attempt" in page.text
    assert "It takes only collaboration-request.created" in page.text
    assert scene.delivery_path in [link.get("href") for link in page.of("a")]


def test_a_delivery_tells_each_attempt_and_what_to_do(operator: Browser, scene: Scene) -> None:
    page = operator.see(scene.delivery_path)
    assert "Succeeded at the third attempt" in page.text
    assert "The receiver answered 503 Service Unavailable in 12\u00a0ms." in page.text
    assert "503 says that the receiver was overloaded" in page.text
    assert "Answer first, with any 2xx" in page.text
    assert "Nothing: this delivery is final." in page.text
    assert len([each for each in page.of("details") if each.get("class") == "attempt"]) == 3
    (curl, *_) = [each["data-text"] for each in page.of("button") if (each.get("data-text") or "").startswith("curl")]
    assert curl
    assert curl.startswith("curl -i -X POST https://api.example.com/hooks --data-raw ")


def test_a_retry_that_is_due_is_told_with_its_time(operator: Browser, server: Server, world: World) -> None:
    subscription = subscribe(server, world.company)
    event = publish(server, world.company)
    (claimed,) = [each for each in claim(server) if each.subscription_id == subscription]
    settle(server, claimed, status=502, retry_ms=58_000)
    page = operator.see(f"/events/{event}")
    assert "Retry scheduled" in page.text
    assert "Next attempt in 58\u00a0s (3 of 3 retries left)" in page.text
    page = operator.see(f"/subscriptions/{subscription}/deliveries/{claimed.id}")
    assert "The next attempt starts in 58\u00a0s" in page.text
    assert "2 retries more follow" in page.text


PAGES = ["/", "/events/{event}", "/events/none", "/events/no/page", "{delivery}", "/sign-in", "/sign-out"]


@pytest.mark.parametrize("path", PAGES)
def test_nothing_on_a_page_runs_or_loads_that_is_not_ours(operator: Browser, scene: Scene, path: str) -> None:
    answer = operator.get(path.format(event=scene.event, delivery=scene.delivery_path))
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert_inert(Seen(answer.body.decode()))


def assert_inert(page: Seen) -> None:
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in {"style", "srcdoc"}], attributes
        assert tag not in {"iframe", "object", "embed", "img", "style", "base"}
        for name in ("src", "href", "action"):
            assert re.match(r"(/(?!/)|#|$)", attributes.get(name) or ""), (tag, attributes)
    assert [each.get("src") for each in page.of("script")] == [
        each.get("src") for each in page.of("script") if (each.get("src") or "").startswith("/static/")
    ]


def test_hostile_text_is_shown_and_does_nothing(operator: Browser, scene: Scene) -> None:
    for path in (f"/events/{scene.event}", scene.delivery_path):
        page = operator.see(path)
        assert "<script>alert(1)</script>" in page.text
        assert "{{7*7}}" in page.text
        assert "\u202e" not in page.text
        assert "\x00" not in page.text


def test_ids_of_another_company_are_no_ids(stranger: Browser, scene: Scene) -> None:
    for path in (f"/events/{scene.event}", scene.delivery_path):
        foreign, unknown = stranger.get(path), stranger.get(re.sub(r"\d", "9", path))
        assert foreign.status == unknown.status == 404
        assert Seen(foreign.body.decode()).text == Seen(unknown.body.decode()).text


@pytest.mark.parametrize("path", ["/subscriptions/x/deliveries/1", "/subscriptions/1/deliveries/99999999999999999999"])
def test_what_is_no_id_answers_like_an_unknown_one(operator: Browser, path: str) -> None:
    assert "There is nothing under this id" in operator.see(path, 404).text


def test_files_are_named_after_their_content_and_kept(operator: Browser, server: Server) -> None:
    page = operator.see("/")
    paths = [str(each["href"]) for each in page.of("link")] + [str(each["src"]) for each in page.of("script")]
    assert len(paths) == 3
    for path in paths:
        answer = server.call("GET", path, token=None)
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"]
        assert re.search(r"\.[0-9a-f]{12}\.", path)
    assert server.call("GET", "/static/../app.py", token=None).status == 404
    assert server.call("GET", "/static/hookline.000000000000.css", token=None).status == 404


def test_the_budget_of_files_is_kept(server: Server, operator: Browser, scene: Scene) -> None:
    page = operator.see(scene.delivery_path)
    (script,) = [str(each["src"]) for each in page.of("script")]
    (style,) = [str(each["href"]) for each in page.of("link") if each.get("rel") == "stylesheet"]
    assert len(server.call("GET", script, token=None).body) <= 8 * 1024
    assert len(server.call("GET", style, token=None).body) <= 40 * 1024
    assert len(operator.get(scene.delivery_path).body) <= 60 * 1024


def test_no_id_stands_twice_on_a_page(operator: Browser, scene: Scene) -> None:
    for path in ("/", f"/events/{scene.event}", scene.delivery_path):
        ids = [attributes["id"] for _, attributes in operator.see(path).elements if attributes.get("id")]
        assert len(ids) == len(set(ids))


def test_the_database_being_away_is_said(operator: Browser, server: Server, scene: Scene) -> None:
    server.faults.failing = Unavailable("The database did not answer. Try again.")
    try:
        page = operator.see(f"/events/{scene.event}", 503)
    finally:
        server.faults.failing = None
    assert "The database did not answer" in page.text
