"""The link that a development server prints: it signs a browser in as operator, once, and each start has its own."""

import re
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from processes import Running, Workplace

LINK = re.compile(r"(http://127\.0\.0\.1:\d+)/portal#(hkl_link_[\w-]{49})")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Workplace]:
    with closing(Workplace(tmp_path)) as workplace:
        yield workplace


def printed(server: Running) -> tuple[str, str]:
    """The address that a server prints, and the code behind its `#`."""
    found = LINK.search(server.wait_for("/portal#"))
    assert found
    return found[1], found[2]


def ask(url: str, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    """Return status and cookie."""
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, (answer.getheader("Set-Cookie") or "").partition(";")[0]


def test_it_signs_in_once_and_a_restart_prints_another(here: Workplace) -> None:
    codes = set()
    for _ in range(2):
        server = here.start("serve", "--dev", "--port", "0")
        url, code = printed(server)
        status, cookie = ask(url, "POST", "/portal", f"code={code}", **FORM)
        assert (status, cookie.partition("=")[0]) == (303, "hookline")
        assert ask(url, "GET", "/companies", Cookie=cookie)[0] == 200
        assert ask(url, "POST", "/portal", f"code={code}", **FORM)[0] == 410
        codes.add(code)
        server.end()
    assert len(codes) == 2


def test_its_code_is_in_no_file_and_the_session_outlives_a_restart(here: Workplace) -> None:
    server = here.start("serve", "--dev", "--port", "0")
    url, code = printed(server)
    _, cookie = ask(url, "POST", "/portal", f"code={code}", **FORM)
    server.end()
    assert [path.name for path in here.path.iterdir() if code.encode() in path.read_bytes()] == []
    again = here.start("serve", "--dev", "--port", "0")
    url, _ = printed(again)
    assert ask(url, "GET", "/companies", Cookie=cookie)[0] == 200


def test_production_prints_none(here: Workplace) -> None:
    key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    server = here.start("serve", "--port", "0", HOOKLINE_SECRET_KEY=key)
    server.wait_for("hookline ready on ")
    server.end()
    with pytest.raises(AssertionError, match="did not come"):
        server.wait_for("/portal#")
