"""The portal inside another site's page, in a real browser: it works where that site is listed, and only there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from browser.chromium import MISSING, PROGRAM, browser
from e2e.harness import Client, Server

PAGE = b"<!doctype html><title>A platform</title><h1>A platform</h1><iframe id=portal width=1200 height=700></iframe>"
INSIDE = "a[href='/sign-out']"
"""Stands on every page of whoever is signed in."""


class Platform(BaseHTTPRequestHandler):
    """A page with an empty frame."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def platform(host: str) -> Iterator[str]:
    """Serve the page under a name of this machine, to a browser another site than `127.0.0.1`; give its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{host}:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def listed() -> Iterator[str]:
    with platform("localhost") as origin:
        yield origin


@pytest.fixture(scope="module")
def unlisted() -> Iterator[str]:
    with platform("elsewhere.localhost") as origin:
        yield origin


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, listed: str) -> Iterator[Server]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    directory = tmp_path_factory.mktemp("framing")
    server = Server(directory, f"sqlite:///{directory}/hookline.db", {"HOOKLINE_PORTAL_ORIGINS": listed}).start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def operator(server: Server) -> Iterator[Client]:
    client = server.client()
    yield client
    client.close()


@pytest.fixture(scope="module")
def company(operator: Client) -> int:
    return operator.company("Acme Corp")


@pytest.fixture(scope="module")
def running(server: Server) -> Iterator[Any]:  # noqa: ARG001 - no browser is started where there is none
    with browser() as running:
        yield running


@pytest.fixture
def page(running: Any) -> Iterator[Any]:
    context = running.new_context()
    yield context.new_page()
    context.close()


def link_of(operator: Client, company: int, role: str = "member") -> str:
    url: str = operator.made("POST", f"/v1/companies/{company}/portal-links", {"role": role})["url"]
    return url


@pytest.fixture
def link(operator: Client, company: int) -> str:
    return link_of(operator, company)


def framed(page: Any, origin: str, url: str) -> Any:
    """Show an address in the frame of a platform's page; return the frame."""
    page.goto(origin)
    page.evaluate("url => { document.getElementById('portal').src = url; }", url)
    return page.frame_locator("#portal")


def test_a_listed_page_frames_the_portal_and_its_forms_work(
    page: Any, server: Server, listed: str, operator: Client, company: int
) -> None:
    frame = framed(page, listed, link_of(operator, company))
    frame.locator(INSIDE).first.wait_for()
    page.frames[1].goto(f"{server.url}/subscriptions/new")
    frame.locator("#url").fill("http://127.0.0.1:9099/framed")
    frame.get_by_role("button", name="Create subscription").click()
    frame.locator("#secret").wait_for()
    assert [each["callbackUrl"] for each in operator.made("GET", f"/v1/webhooks?companyId={company}")] == [
        "http://127.0.0.1:9099/framed"
    ]
    (cookie,) = [each for each in page.context.cookies() if each["name"] == "hookline-portal"]
    assert (cookie["sameSite"], cookie["secure"], cookie["httpOnly"]) == ("None", True, True)


def test_the_code_goes_to_no_server_in_an_address(page: Any, listed: str, link: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer')}"))
    framed(page, listed, link).locator(INSIDE).first.wait_for()
    code = link.partition("#")[2]
    # The browser itself names a fragment beside the address that it asks for; no request line or header has it.
    assert [each for each in asked if code in each.partition("#")[0] or code in each.partition(" ")[2]] == []


def test_the_code_leaves_the_address_before_it_is_used(page: Any, link: str) -> None:
    def hold(route: Any) -> None:
        if route.request.method == "POST":
            route.fulfill(status=204)  # without content the page stays as it is
        else:
            route.continue_()

    page.route("**/portal*", hold)
    with page.expect_request(lambda request: request.method == "POST"):
        page.goto(link, wait_until="commit")
    assert page.input_value("#code") == link.partition("#")[2]
    assert "#" not in page.url


def test_an_unlisted_page_frames_nothing(page: Any, unlisted: str, link: str) -> None:
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    framed(page, unlisted, link)
    while not any("frame-ancestors" in text for text in refused):
        page.wait_for_event("console")
    page.goto(link)
    page.locator(INSIDE).first.wait_for()


def test_a_stranger_gets_no_session_that_a_platforms_frame_has(
    page: Any, server: Server, listed: str, unlisted: str, link: str
) -> None:
    framed(page, listed, link).locator(INSIDE).first.wait_for()
    page.goto(unlisted)
    with page.expect_request(f"{server.url}/**") as asked:
        page.evaluate("url => { document.getElementById('portal').src = url; }", f"{server.url}/subscriptions")
    assert "hookline-portal" not in asked.value.all_headers().get("cookie", "")


def test_a_frame_without_a_session_says_what_to_do(page: Any, server: Server, listed: str) -> None:
    frame = framed(page, listed, f"{server.url}/events")
    assert "This session has ended" in frame.locator("main").inner_text()
    assert frame.locator("#token").count() == 0


def test_a_link_opens_in_a_window_of_its_own_once(page: Any, operator: Client, company: int) -> None:
    url = link_of(operator, company, "viewer")
    page.goto(url)
    page.locator(INSIDE).first.wait_for()
    page.wait_for_url("**/")
    assert page.locator("main h1").inner_text()
    page.goto(url)
    page.locator("text=This link does not open").first.wait_for()
    assert "hkl_link" not in page.url


def test_without_script_the_page_takes_the_code_by_hand(running: Any, link: str) -> None:
    context = running.new_context(java_script_enabled=False)
    page = context.new_page()
    url, _, code = link.partition("#")
    page.goto(url)
    page.fill("#code", code)
    page.click("main form button")
    assert page.locator(".who").inner_text().startswith("portal")
    context.close()
