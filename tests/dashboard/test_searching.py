"""Finding events by what their data holds, and honesty about how far was looked."""

import pytest

from api.loopback import Server
from api.traffic import publish
from api.world import World
from dashboard.browsing import Browser
from hookline.dashboard import searching
from hookline.dashboard.searching import wanted
from hookline.errors import Invalid
from hookline.filtering import Document, holds


@pytest.mark.parametrize(
    ("text", "data", "expected"),
    [
        ("data.order.id = 42", b'{"order":{"id":42}}', True),
        ("order.id=42", b'{"order":{"id":42.0}}', True),
        ("order.id == 42", b'{"order":{"id":"42"}}', True),
        ('order.id = "42"', b'{"order":{"id":42}}', False),
        ('order.id = "42"', b'{"order":{"id":"42"}}', True),
        ("order.id = 42", b'{"order":{"id":421}}', False),
        ("order.id = 42", b'{"order":{"id":[42]}}', False),
        ("order.id = 42", b'{"id":42}', False),
        ("ok = true", b'{"ok":true}', True),
        ("ok = true", b'{"ok":"true"}', True),
        ("ok = null", b'{"ok":null}', True),
        ("a = x = y", b'{"a":"x = y"}', True),
        ("name = M\u00fcller & Co", b'{"name":"M\\u00fcller \\u0026 Co"}', True),
        ("big = 9007199254740993", b'{"big":9007199254740992}', False),
    ],
)
def test_a_member_is_judged_as_a_filter_would(text: str, data: bytes, expected: bool) -> None:  # noqa: FBT001 - a table
    what = wanted(text)
    assert what.expression is not None
    assert holds(what.expression, Document(data)) is expected
    if expected:
        assert what.containing is None or what.containing in data


def test_a_text_is_looked_for_as_it_is() -> None:
    assert wanted("deadbeef") == (b"deadbeef", None)


def test_nothing_is_asked_for_by_nothing() -> None:
    assert wanted("") == (None, None)


@pytest.mark.parametrize("text", ["a..b = 1", "x" * 300, ". = 1"])
def test_what_cannot_be_searched_for_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        wanted(text)


class Scene:
    def __init__(self, server: Server, world: World) -> None:
        self.wanted = publish(server, world.company, data={"order": {"id": 42}, "secretive": "kiwi"})
        self.near = publish(server, world.company, data={"order": {"id": 421}})


@pytest.fixture(scope="module")
def scene(server: Server, world: World) -> Scene:
    return Scene(server, world)


def listed(browser: Browser, query: str) -> list[str]:
    page = browser.see(f"/events?{query}")
    return [str(each["href"]) for each in page.of("a") if each.get("class") == "row-link clip"]


def test_an_event_is_found_by_a_member_of_its_data(operator: Browser, member: Browser, scene: Scene) -> None:
    for browser in (operator, member):
        assert listed(browser, "q=data.order.id+%3D+42") == [f"/events/{scene.wanted}"]
        assert listed(browser, "q=kiwi") == [f"/events/{scene.wanted}"]
        assert listed(browser, "q=data.order.id+%3D+42&from=2000-01-01T00:00&to=2000-01-02T00:00") == []


def test_another_company_finds_nothing_of_it(stranger: Browser, scene: Scene) -> None:  # noqa: ARG001
    assert listed(stranger, "q=kiwi") == []


def test_a_search_that_stopped_early_says_so_and_goes_on(
    operator: Browser, server: Server, world: World, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "LOOKED_AT_MAX", 3)
    for _ in range(4):
        publish(server, world.company)
    page = operator.see("/events?q=kiwi")
    assert "None of the newest 3 events is like this" in page.text
    (on,) = [str(each["href"]) for each in page.of("a") if "cursor=" in str(each.get("href"))]
    assert f"/events/{scene.wanted}" in listed(operator, on.partition("?")[2]) or "Search" in operator.see(on).text


def test_a_search_that_cannot_be_is_refused_in_words(operator: Browser) -> None:
    page = operator.see("/events?q=a..b+%3D+1")
    assert [each for each in page.of("p") if each.get("role") == "alert"]


def test_the_find_box_leads_a_member_of_data_to_the_search(operator: Browser) -> None:
    answer = operator.get("/find?q=data.order.id+%3D+42")
    assert answer.headers["location"] == "/events?q=data.order.id+%3D+42"
