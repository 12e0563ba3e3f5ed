"""Take the pictures of the documentation: `python -m browser docs/images`."""

import sys
import tempfile
from pathlib import Path

from browser.chromium import MISSING, PROGRAM, browser, sign_in
from browser.scene import Scene
from e2e.harness import OPERATOR_TOKEN

SIZES = {"wide": (1440, 900), "phone": (390, 844)}
PICTURES = (
    ("overview", "wide", "light"),
    ("overview", "wide", "dark"),
    ("event", "wide", "light"),
    ("delivery", "wide", "light"),
    ("delivery", "wide", "dark"),
    ("delivery", "phone", "light"),
    ("subscription", "wide", "light"),
)


def main(directory: Path) -> None:
    """Save each picture as it looks now."""
    if PROGRAM is None:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as folder, browser() as running:
        scene = Scene.made(Path(folder))
        try:
            for name, size, theme in PICTURES:
                width, height = SIZES[size]
                context = running.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
                page = context.new_page()
                sign_in(page, scene.server.url, OPERATOR_TOKEN)
                page.goto(scene.server.url + scene.pages[name])
                page.screenshot(path=directory / f"{name}-{size}-{theme}.png", full_page=size == "wide")
                context.close()
        finally:
            scene.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
