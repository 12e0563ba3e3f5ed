"""Take the pictures of the documentation: `python -m browser docs/images`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from browser.chromium import MISSING, PROGRAM, browser, sign_in
from browser.history import Day
from browser.scene import Scene
from e2e.harness import OPERATOR_TOKEN

SIZES = {"wide": (1440, 900), "phone": (390, 844)}
PICTURES = (
    ("event", "wide", "light"),
    ("delivery", "wide", "light"),
    ("delivery", "wide", "dark"),
    ("delivery", "phone", "light"),
)
OF_A_DAY = (("overview", "wide", "light"), ("overview", "wide", "dark"), ("subscription", "wide", "light"))
"""Those with charts: with a day behind them."""


def main(directory: Path) -> None:
    """Save each picture as it looks now."""
    if PROGRAM is None:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as folder, browser() as running:
        scene = Scene.made(Path(folder))
        try:
            for name, size, theme in PICTURES:
                _take(running, (scene.server.url, scene.pages[name]), size, theme, directory / _file(name, size, theme))
        finally:
            scene.close()
    with tempfile.TemporaryDirectory() as folder, browser() as running:
        day = Day.made(Path(folder))
        try:
            pages = {"overview": "/", "subscription": f"/subscriptions/{day.subscriptions['api.acme.example']}"}
            for name, size, theme in OF_A_DAY:
                _take(running, (day.server.url, pages[name]), size, theme, directory / _file(name, size, theme))
        finally:
            day.close()


def _file(name: str, size: str, theme: str) -> str:
    return f"{name}-{size}-{theme}.png"


def _take(running: Any, place: tuple[str, str], size: str, theme: str, picture: Path) -> None:
    width, height = SIZES[size]
    context = running.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    page = context.new_page()
    sign_in(page, place[0], OPERATOR_TOKEN)
    page.goto("".join(place))
    page.screenshot(path=picture, full_page=size == "wide")
    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
