"""The documentation as it is built: no link leads nowhere, and no page asks anybody else for anything."""

import html
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from browser.chromium import MISSING, PROGRAM, browser

ROOT: Final = Path(__file__).parents[2]
MKDOCS: Final = ROOT / ".venv-docs" / "bin" / "mkdocs"
ELEMENT: Final = re.compile(
    r"<(?:link|script|img|iframe|source|object|embed)\b[^>]*?\b(?:href|src|data|srcset)=[\"']?((?:https?:)?//[^\"' >]+)"
)
STYLE: Final = re.compile(r"(?:url\(|@import\s)\s*[\"']?((?:https?:)?//[^\"') ]+)")
DIAGRAM: Final = re.compile(r'class="mermaid"')
"""The theme would fetch a script from a stranger to draw one."""

pytestmark = pytest.mark.skipif(not MKDOCS.exists(), reason="`make docs` makes the environment that builds the site")


def copied(place: Path) -> Path:
    """Lay out the sources of the site in `place`, and return where its pages are."""
    pages = place / "docs"
    shutil.copytree(ROOT / "docs", pages)
    shutil.copy(ROOT / "mkdocs.yml", place)
    subprocess.run([sys.executable, ROOT / "docs" / "api.py", place], check=True)
    return pages


def build(place: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [MKDOCS, "build", "--strict"],
        cwd=place,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def outside(text: str) -> list[str]:
    """Return what a browser would fetch from elsewhere when it shows this."""
    return ELEMENT.findall(text) + STYLE.findall(text) + DIAGRAM.findall(text)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    copied(place)
    built = build(place)
    assert built.returncode == 0, built.stderr
    return place / "site"


def test_no_page_loads_anything_from_outside(site: Path) -> None:
    pages = [*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]

    assert len([page for page in pages if page.suffix == ".html"]) > 15
    assert {page.name: found for page in pages if (found := outside(page.read_text(encoding="utf-8")))} == {}


class Quiet(SimpleHTTPRequestHandler):
    """Serve the site and say nothing of it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name is the library's
        pass


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_a_browser_asks_nobody_else_and_finds_what_is_searched(site: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    asked: list[str] = []
    with closing(server.socket), browser() as chromium:
        page = chromium.new_page()
        page.on("request", lambda request: asked.append(request.url))
        for name in sorted(path.name for path in site.glob("*.html")):
            page.goto(url + name)
        page.goto(url)
        page.fill("input[name=query]", "tolerance")
        page.wait_for_selector("a.md-search-result__link[href*=verify]")
        server.shutdown()
    assert len(asked) > 50
    assert [each for each in asked if not each.startswith((url, "data:", "blob:"))] == []


def test_each_sample_is_whole_on_the_page_that_shows_it(site: Path) -> None:
    pages = [(site / page).read_text("utf-8") for page in ("verify.html", "publishing.html")]
    shown = html.unescape(re.sub("<[^>]+>", "", "".join(pages)))

    for sample in (ROOT / "docs" / "samples").iterdir():
        assert sample.read_text("utf-8").expandtabs(4).strip() in shown, sample.name


@pytest.mark.parametrize(
    "planted",
    [
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<script async src="//cdn.example/x.js"></script>',
        "<img alt='' src='http://badge.example/x.svg'>",
        "@import 'https://fonts.example/css';",
        "a { background: url(//pictures.example/a.png) }",
        '<pre class="mermaid"><code>graph TD</code></pre>',
    ],
)
def test_a_planted_load_is_found(planted: str) -> None:
    assert outside(planted)
    assert not outside('<a href="https://www.example.org/">elsewhere</a> <img src="images/path.svg">')


@pytest.mark.parametrize("line", ["[a](nowhere.md)", "[a](settings.md#nowhere)", "[a](../README.md)", "[a](#nowhere)"])
def test_a_planted_link_that_leads_nowhere_fails_the_build(tmp_path: Path, line: str) -> None:
    page = copied(tmp_path) / "alerts.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")

    assert build(tmp_path).returncode == 1


def test_a_page_that_no_menu_names_fails_the_build(tmp_path: Path) -> None:
    (copied(tmp_path) / "forgotten.md").write_text("# Forgotten\n", encoding="utf-8")

    assert build(tmp_path).returncode == 1
