"""Theme and time zone: kept in this browser, followed by every time on every page, and never a way to break one."""

import re

import pytest

from api.loopback import Server
from api.traffic import claim, publish, settle
from api.world import World
from dashboard.browsing import Browser
from dashboard.test_pages import assert_inert, subscribe

MORNING = 1_794_990_400_000
"""Of the server's clock: 2026-11-18, 08:26:40 UTC, and the evening before in the Marquesas."""


def prefer(browser: Browser, zone: str, theme: str = "system") -> Browser:
    answer = browser.submit("/preferences", "/preferences", zone=zone, theme=theme)
    assert (answer.status, answer.headers["location"]) == (303, "/preferences?done=preferred"), answer.body
    return browser


@pytest.fixture
def event(server: Server, world: World) -> str:
    server.clock.now_ms = MORNING
    return publish(server, world.company)


@pytest.mark.parametrize(
    ("zone", "whole", "heading"),
    [
        ("UTC", "18\xa0Nov 2026, 08:26:40.000 UTC", "UTC"),
        ("Europe/Berlin", "18\xa0Nov 2026, 09:26:40.000 UTC+01:00", "Berlin"),
        ("Pacific/Marquesas", "17\xa0Nov 2026, 22:56:40.000 UTC-09:30", "Marquesas"),
        ("Pacific/Auckland", "18\xa0Nov 2026, 21:26:40.000 UTC+13:00", "Auckland"),
        ("America/Argentina/Buenos_Aires", "18\xa0Nov 2026, 05:26:40.000 UTC-03:00", "Buenos Aires"),
    ],
)
def test_every_time_follows_the_zone_and_says_which_it_is(
    member: Browser, event: str, zone: str, whole: str, heading: str
) -> None:
    prefer(member, zone)
    assert whole in member.see(f"/events/{event}").text
    page = member.see("/events")
    assert f"Accepted, {heading}" in page.text
    assert whole.split()[3] in page.text
    # Programs read the same instant whatever people are told.
    assert "2026-11-18T08:26:40.000Z" in [each.get("datetime") for each in page.of("time")]


def test_the_day_of_a_zone_is_its_own(member: Browser, server: Server, world: World) -> None:
    server.clock.now_ms = MORNING
    publish(server, world.company)
    server.clock.now_ms = MORNING + 3 * 3_600_000  # another day in the Marquesas, the same one in UTC
    assert re.search(r"(?<!Nov 2026, )08:26:40", prefer(member, "UTC").see("/events").text)
    assert "17\xa0Nov 2026, 22:56:40" in prefer(member, "Pacific/Marquesas").see("/events").text


@pytest.mark.usefixtures("event")
def test_one_visitors_zone_is_nobody_elses(member: Browser, operator: Browser) -> None:
    prefer(member, "Pacific/Auckland")
    assert "Accepted, Auckland" in member.see("/events").text
    assert "Accepted, UTC" in operator.see("/events").text


@pytest.mark.parametrize(
    "cookie",
    ["", "Mars/Olympus", "../../../etc/passwd", "/etc/localtime", "Europe", "tzdata.zi", "zone.tab", "x" * 3000, "%00"],
)
def test_a_zone_that_is_none_counts_as_utc(member: Browser, event: str, cookie: str) -> None:
    member.cookies["zone"] = cookie
    assert "UTC" in member.see(f"/events/{event}").text


@pytest.mark.parametrize("fields", [{"zone": "Mars/Olympus"}, {"zone": "../UTC"}, {"zone": ""}, {"theme": "pink"}])
def test_what_is_not_offered_is_not_kept(member: Browser, fields: dict[str, str]) -> None:
    chosen = {"zone": "UTC", "theme": "dark", **fields}
    assert member.submit("/preferences", "/preferences", **chosen).status == 400
    assert "zone" not in member.cookies
    assert "theme" not in member.cookies


@pytest.mark.parametrize(("theme", "rendered"), [("light", "light"), ("dark", "dark"), ("system", None)])
def test_the_theme_is_rendered_by_the_server(member: Browser, theme: str, rendered: str | None) -> None:
    prefer(member, "UTC", theme)
    page = member.see("/preferences?done=preferred")
    assert next(page.of("html")).get("data-theme") == rendered
    assert theme in [each.get("value") for each in page.of("input") if "checked" in each]
    assert "Saved for this browser." in page.text
    assert_inert(page)


def test_whoever_has_not_signed_in_has_preferences_too(server: Server) -> None:
    browser = prefer(Browser(server), "Europe/Berlin", "dark")
    assert browser.cookies["zone"] == "Europe/Berlin"
    assert browser.post("/preferences", {"zone": "UTC", "theme": "dark"}).status == 403


def test_times_typed_into_a_form_are_those_of_the_zone(member: Browser, server: Server, world: World) -> None:
    server.clock.now_ms = MORNING
    subscription = subscribe(server, world.company)
    publish(server, world.company)
    (claimed,) = [each for each in claim(server) if each.subscription_id == subscription]
    settle(server, claimed)
    server.clock.now_ms = MORNING + 1_800_000
    prefer(member, "Europe/Berlin")
    path = f"/subscriptions/{subscription}/replay"
    (form,) = [fields for action, fields in member.see(path).forms if action == path]
    assert (form["from"], form["to"]) == ("2026-11-18T08:56", "2026-11-18T09:56")
    span = {"from": "2026-11-18T09:26", "to": "2026-11-18T09:27"}
    answer = member.submit(path, path, **span, status="succeeded")
    assert server.call("GET", f"/v1{answer.headers['location']}").json["total"] == 1
    told = member.see(answer.headers["location"]).text
    assert "09:26:00.000 UTC+01:00" in told


def test_a_filter_by_time_becomes_a_link_that_means_the_same_to_everybody(
    member: Browser, operator: Browser, event: str
) -> None:
    prefer(member, "Europe/Berlin")
    answer = member.get("/events?from=2026-11-18T09%3A26&to=2026-11-18T09%3A27&state=")
    assert answer.status == 303
    shared = answer.headers["location"]
    assert "from=2026-11-18T08%3A26%3A00.000Z" in shared
    page = member.see(shared)
    assert event in page.text
    assert {"2026-11-18T09:26", "2026-11-18T09:27"} <= {each.get("value") for each in page.of("input")}
    assert event in operator.see(shared).text


def test_the_ends_of_the_calendar_break_no_page(member: Browser) -> None:
    for zone in ("America/New_York", "Pacific/Auckland"):
        prefer(member, zone)
        for query in ("from=0001-01-01T00:00", "from=0001-01-01T00:00Z", "to=9999-12-31T23:59", "to=9999-12-31T23:59Z"):
            answer = member.get(f"/events?{query}")
            assert answer.status in {200, 303}
            if answer.status == 303:
                assert member.get(answer.headers["location"]).status == 200
