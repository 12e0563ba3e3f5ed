"""The dashboard in a real browser: nothing foreign runs, everything fits, reads and can be reached."""

from typing import Any

import pytest

from browser.chromium import sign_in
from browser.scene import Scene
from e2e.harness import OPERATOR_TOKEN

PAGES = [
    "overview",
    "events",
    "event",
    "delivery",
    "subscriptions",
    "subscription",
    "subscription-new",
    "subscription-edit",
    "pause",
    "replay",
    "event-types",
    "companies",
    "company",
    "accounts",
    "sign-out",
    "preferences",
    "tokens",
    "nodes",
    "audit",
]
ACCESSIBLE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_is_accessible(chromium: Any, scene: Scene, signed_in: dict[str, Any], name: str, theme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - only where a browser is

    context = chromium.new_context(color_scheme=theme, storage_state=signed_in)
    page = context.new_page()
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(scene.server.url + scene.pages[name])
        found = Axe().run(page, options=ACCESSIBLE)
        assert found.violations_count == 0, found.generate_report()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_width(chromium: Any, scene: Scene, signed_in: dict[str, Any], name: str) -> None:
    context = chromium.new_context(storage_state=signed_in)
    page = context.new_page()
    page.goto(scene.server.url + scene.pages[name])
    too_wide = []
    for width in (320, 390, 768, 900, 901, 1120, 1180, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            too_wide.append(width)
    context.close()
    assert too_wide == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_on_a_page_runs_or_calls_out(watched: Any, scene: Scene, name: str) -> None:
    watched.goto(scene.server.url + scene.pages[name])
    assert "owned" not in watched.title()
    assert watched.locator("main img, main script, main iframe").count() == 0


def test_a_page_reads_without_script(chromium: Any, scene: Scene, signed_in: dict[str, Any]) -> None:
    context = chromium.new_context(java_script_enabled=False, storage_state=signed_in)
    page = context.new_page()
    for name in PAGES:
        page.goto(scene.server.url + scene.pages[name])
        assert page.locator("h1").inner_text()
        assert page.locator(".needs-js:visible").count() == 0
    context.close()


def test_a_token_signs_in_and_out_again(watched: Any, scene: Scene) -> None:
    watched.click("text=Sign out")
    watched.click("main form button")
    assert watched.url == f"{scene.server.url}/sign-in"
    watched.goto(f"{scene.server.url}/events")
    assert watched.url == f"{scene.server.url}/sign-in?next=/events"
    sign_in(watched, scene.server.url, OPERATOR_TOKEN)


def test_a_request_is_copied_as_curl(watched: Any, scene: Scene) -> None:
    watched.goto(scene.server.url + scene.pages["delivery"])
    watched.click("details[open] >> text=Copy as curl")
    watched.locator("text=Copied").wait_for()
    assert watched.evaluate("navigator.clipboard.readText()").startswith("curl -i -X POST http://127.0.0.1")


def test_keys_lead_to_places_and_rows(watched: Any, scene: Scene) -> None:
    watched.keyboard.press("g")
    watched.keyboard.press("e")
    watched.wait_for_url(f"{scene.server.url}/events")
    watched.keyboard.press("j")
    watched.keyboard.press("Enter")
    watched.wait_for_url(f"{scene.server.url}/events/*")
    watched.keyboard.press("/")
    assert watched.evaluate("document.activeElement.name") == "q"
    watched.keyboard.press("Escape")


def test_the_theme_is_kept_by_the_server(watched: Any, scene: Scene) -> None:
    watched.click(".side [data-next-theme]")
    watched.reload()
    assert watched.evaluate("document.documentElement.dataset.theme") == "light"
    watched.goto(f"{scene.server.url}/")


def test_a_visitor_takes_the_zone_of_this_device(chromium: Any, scene: Scene, signed_in: dict[str, Any]) -> None:
    context = chromium.new_context(storage_state=signed_in, timezone_id="Asia/Kathmandu")
    page = context.new_page()
    page.goto(f"{scene.server.url}/preferences")
    page.click("text=Use this device")
    page.click("main form button.main")
    page.locator("text=Saved for this browser").wait_for()
    page.goto(f"{scene.server.url}/events")
    # The browser calls it by its older name, which the machine may or may not offer.
    assert page.locator("th", has_text="Accepted").inner_text() in {"Accepted, Kathmandu", "Accepted, Katmandu"}
    context.close()


def test_every_attempt_opens_at_once(watched: Any, scene: Scene) -> None:
    watched.goto(scene.server.url + scene.pages["delivery"])
    watched.keyboard.press("e")
    assert watched.locator("details.attempt[open]").count() == 3


def test_a_subscription_is_made_and_pinged(watched: Any, scene: Scene) -> None:
    watched.goto(f"{scene.server.url}/subscriptions/new?companyId={scene.company}")
    watched.fill("#url", scene.receiver.url("/made-by-hand"))
    watched.click("text=Create subscription")
    assert watched.locator("#secret").inner_text().startswith("whsec_")
    watched.click("text=Send a ping")
    watched.wait_for_url("**/deliveries/*")
    scene.receiver.wait_at("/made-by-hand", 1)
    watched.reload()
    assert "webhook.ping" in watched.locator("main").inner_text()
