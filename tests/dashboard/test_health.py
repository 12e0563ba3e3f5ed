"""Health over time on the pages: what was counted is shown, to whom it belongs, in words too."""

import pytest

from api.loopback import Server
from api.traffic import claim, publish, settle
from api.world import World
from dashboard.browsing import Browser, Seen
from dashboard.test_pages import subscribe
from hookline.model import ErrorClass


class Scene:
    """One subscription with a failed attempt and a success, all of it counted."""

    def __init__(self, server: Server, world: World) -> None:
        self.subscription = subscribe(server, world.company)
        publish(server, world.company)
        for status, retry in ((503, 1000), (200, None)):
            for claimed in claim(server):
                settle(server, claimed, status=status, error=ErrorClass.STATUS if retry else None, retry_ms=retry)
            server.clock.advance(2)
        server.run(server.storage.tally(100))


@pytest.fixture(scope="module")
def scene(server: Server, world: World) -> Scene:
    return Scene(server, world)


def drawn(page: Seen) -> list[str]:
    return [str(each["aria-label"]) for each in page.of("svg") if each.get("role") == "img"]


def test_the_operator_sees_what_was_published_and_sent(operator: Browser, scene: Scene) -> None:  # noqa: ARG001
    page = operator.see("/")
    assert "Attempts in the last 24 hours: 1 succeeded, 1 failed." in " ".join(drawn(page))
    assert any(each.startswith("Time to first attempt in the last 24 hours: p50") for each in drawn(page))
    assert any(each.startswith("Age of the oldest due delivery") for each in drawn(page))
    assert "of 1 ended delivery" in page.text
    assert "Failed attempts per hour, at most 1" in drawn(page)


def test_a_member_sees_its_own_alone(member: Browser, stranger: Browser, scene: Scene) -> None:  # noqa: ARG001
    assert "Attempts in the last 24 hours: 1 succeeded, 1 failed." in " ".join(drawn(member.see("/")))
    assert "Attempts in the last 24 hours: none." in drawn(stranger.see("/"))


@pytest.mark.parametrize("name", ["1h", "24h", "7d", "30d", "", "nonsense"])
def test_every_range_has_its_charts(operator: Browser, member: Browser, scene: Scene, name: str) -> None:
    for browser in (operator, member):
        assert any(each.startswith("Attempts in the last") for each in drawn(browser.see(f"/?range={name}")))
        assert browser.see(f"/subscriptions/{scene.subscription}?range={name}").text


def test_a_subscription_tells_its_health(member: Browser, scene: Scene) -> None:
    page = member.see(f"/subscriptions/{scene.subscription}")
    assert "1 succeeded, 1 failed attempt in the last 24 hours" in drawn(page)
    assert "Answers 503" in page.text
    assert "Last success" in page.text
    assert "among the latest attempts" not in page.text


def test_a_chart_can_be_read_as_a_table(operator: Browser, scene: Scene) -> None:  # noqa: ARG001
    page = operator.see("/")
    assert [each.get("scope") for each in page.of("th") if each.get("scope")]
    assert page.text.count("As a table") == 3


def test_every_subscription_of_the_list_has_its_strip(operator: Browser, scene: Scene) -> None:  # noqa: ARG001
    assert "1 succeeded, 1 failed attempt in the last 24 hours" in drawn(operator.see("/subscriptions"))
