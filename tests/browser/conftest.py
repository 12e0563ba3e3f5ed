"""One scene and one browser for a file of tests; where no browser is installed they say so and are skipped.

No longer: its driver keeps an event loop running in the thread of the tests, in which no other test could run one.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from browser.chromium import MISSING, PROGRAM, browser, sign_in
from browser.scene import Scene
from e2e.harness import OPERATOR_TOKEN


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    scene = Scene.made(tmp_path_factory.mktemp("scene"))
    yield scene
    scene.close()


@pytest.fixture(scope="module")
def chromium(scene: Scene) -> Iterator[Any]:  # noqa: ARG001 - no browser is started where there is none
    with browser() as running:
        yield running


class Watch:
    """What a page did that it must not do."""

    def __init__(self, page: Any, url: str) -> None:
        self.wrong: list[str] = []
        page.on("console", lambda message: self._note(f"console: {message.text}", message.type == "error"))
        page.on("pageerror", lambda error: self._note(f"script: {error}", is_wrong=True))
        page.on("dialog", lambda dialog: self._note(f"dialog: {dialog.message}", is_wrong=True))
        page.on("request", lambda request: self._note(f"request: {request.url}", not request.url.startswith(url)))

    def _note(self, what: str, is_wrong: bool) -> None:  # noqa: FBT001
        # An answer of 404 counts as an error of the page; those that are none are asked for on purpose.
        if is_wrong and "the server responded with a status of 4" not in what:
            self.wrong.append(what)


@pytest.fixture
def watched(chromium: Any, scene: Scene) -> Iterator[Any]:
    """Give a page of an operator; whatever it did wrong fails the test."""
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    watch = Watch(page, scene.server.url)
    sign_in(page, scene.server.url, OPERATOR_TOKEN)
    yield page
    context.close()
    assert watch.wrong == []


@pytest.fixture(scope="module")
def signed_in(chromium: Any, scene: Scene) -> Any:
    """Give the cookies of an operator's session."""
    context = chromium.new_context()
    sign_in(context.new_page(), scene.server.url, OPERATOR_TOKEN)
    state = context.storage_state()
    context.close()
    return state
