"""Live pages in a real browser: rows come by themselves, but never under somebody's hands."""

from typing import Any

import pytest
from playwright.sync_api import expect

from browser.scene import Scene

PATIENCE_MS = 30_000
"""Longer than any wait between two looks."""


def keys(page: Any) -> list[str]:
    found: list[str] = page.evaluate("[...document.querySelectorAll('[data-key]')].map((row) => row.dataset.key)")
    return found


def test_a_new_event_shows_without_reload(watched: Any, scene: Scene) -> None:
    watched.goto(f"{scene.server.url}/events")
    watched.evaluate("window.same = true")
    event = scene.operator.publish(scene.company, {"live": 1})
    expect(watched.locator(f"[data-key='{event}']")).to_be_visible(timeout=PATIENCE_MS)
    assert watched.evaluate("window.same") is True


def test_rows_wait_to_be_asked_for_while_one_has_the_focus(watched: Any, scene: Scene) -> None:
    watched.goto(f"{scene.server.url}/events")
    watched.locator(".row-link").first.focus()
    before = keys(watched)
    event = scene.operator.publish(scene.company, {"live": 2})
    bar = watched.locator(".arrived")
    expect(bar).to_be_visible(timeout=PATIENCE_MS)
    assert keys(watched) == before
    assert bar.inner_text() == "Show new events: 1"
    assert watched.evaluate("document.activeElement.className") == "row-link clip"
    bar.click()
    assert keys(watched)[0] == event
    expect(bar).to_be_hidden()


def test_live_is_switched_off_and_stays_off(watched: Any, scene: Scene) -> None:
    watched.goto(f"{scene.server.url}/events")
    watched.keyboard.press("l")
    button = watched.locator(".live")
    assert button.get_attribute("aria-pressed") == "false"
    watched.reload()
    assert button.get_attribute("aria-pressed") == "false"
    with watched.expect_request("**live=1", timeout=PATIENCE_MS):
        watched.keyboard.press("l")
    assert button.get_attribute("aria-pressed") == "true"


def test_a_page_says_that_it_is_not_live_any_more(watched: Any, scene: Scene) -> None:
    watched.goto(f"{scene.server.url}/events")
    watched.route("**live=1", lambda route: route.fulfill(status=404, body=""))
    expect(watched.locator(".live")).to_have_text("Not live: no answer", timeout=PATIENCE_MS)
    assert watched.title().startswith("Not live: ")
    watched.unroute("**live=1")
    expect(watched.locator(".live")).to_have_text("Live", timeout=PATIENCE_MS)
    assert watched.title() == "Events · Hookline"


@pytest.mark.parametrize("name", ["overview", "events", "event", "subscription"])
def test_what_is_fetched_again_fits_what_is_there(watched: Any, scene: Scene, name: str) -> None:
    watched.goto(scene.server.url + scene.pages[name])
    with watched.expect_response("**live=1", timeout=PATIENCE_MS) as answer:
        pass
    text = answer.value.text()
    for part in watched.evaluate("[...document.querySelectorAll('[data-live]')].map((node) => node.id)"):
        assert f'id="{part}"' in text
    assert "<nav" not in text.partition("<main>")[0]
    assert "live=1" not in text
