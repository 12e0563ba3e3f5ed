"""Pages with a day behind them: charts are accessible, fit, weigh little, and say in words what they show."""

from collections.abc import Iterator
from typing import Any

import pytest

from browser.chromium import MISSING, PROGRAM
from browser.history import Day
from browser.test_looking import ACCESSIBLE

PAGE_BYTES = 60 * 1024
RANGES = ["1h", "24h", "7d", "30d"]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    day = Day.made(tmp_path_factory.mktemp("day"))
    yield day
    day.close()


@pytest.fixture
def pages(scene: Day) -> list[str]:
    subscriptions = [
        f"/subscriptions/{scene.subscriptions[host]}" for host in ("api.acme.example", "hooks.cedar.example")
    ]
    companies = [f"/companies/{scene.companies['Acme Corp']}"]
    return ["/", *subscriptions, "/subscriptions", "/events", "/events?state=dead", *companies, "/companies"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_charts_are_accessible(
    chromium: Any, scene: Day, signed_in: dict[str, Any], pages: list[str], theme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415 - only where a browser is

    context = chromium.new_context(color_scheme=theme, storage_state=signed_in)
    page = context.new_page()
    for path in pages[:4]:
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(scene.server.url + path)
            page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true })")
            found = Axe().run(page, options=ACCESSIBLE)
            assert found.violations_count == 0, f"{path}: {found.generate_report()}"
    context.close()


def test_charts_fit_every_width(watched: Any, scene: Day, pages: list[str]) -> None:
    too_wide = []
    for path in pages:
        watched.goto(scene.server.url + path)
        for width in (320, 390, 768, 900, 901, 1120, 1180, 1440, 1920):
            watched.set_viewport_size({"width": width, "height": 900})
            if watched.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                too_wide.append((path, width))
    assert too_wide == []


def test_a_page_keeps_within_its_weight(watched: Any, scene: Day, pages: list[str]) -> None:
    weights = {}
    for path in [*pages, *(f"{path}?range={name}" for name in RANGES for path in pages[:2])]:
        answer = watched.goto(scene.server.url + path)
        weights[path] = len(answer.body())
    assert {path: weight for path, weight in weights.items() if weight > PAGE_BYTES} == {}


def test_the_day_is_told_in_figures_and_words(watched: Any, scene: Day) -> None:
    watched.goto(f"{scene.server.url}/")
    said = watched.locator("svg[role=img]").evaluate_all(
        "(nodes) => nodes.map((node) => node.getAttribute('aria-label'))"
    )
    assert any(each.startswith("Attempts in the last 24 hours: ") and "Most failures" in each for each in said)
    assert watched.locator("text=Its certificate or TLS fails").count() == 1
    assert watched.locator("text=Answers 503").count() == 1
    bars = watched.locator("figure.wide g").count()
    assert bars > 40


@pytest.mark.parametrize("name", RANGES)
def test_a_range_is_chosen_without_script(chromium: Any, scene: Day, signed_in: dict[str, Any], name: str) -> None:
    context = chromium.new_context(java_script_enabled=False, storage_state=signed_in)
    page = context.new_page()
    page.goto(f"{scene.server.url}/")
    page.click(f".segments a[href*='range={name}']")
    assert f"range={name}" in page.url
    assert page.locator(".segments [aria-current]").get_attribute("href") == f"/?range={name}"
    context.close()
