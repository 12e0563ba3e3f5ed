"""The portal by real processes: a link works on whichever node it reaches, once over all, and survives a kill."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from .harness import Client, Server, until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def code_of(operator: Client, company: int) -> str:
    url: str = operator.made("POST", f"/v1/companies/{company}/portal-links", {})["url"]
    return url.partition("#")[2]


def ask(server: Server, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
    """Return status and cookie."""
    with closing(HTTPConnection(urlsplit(server.url).netloc, timeout=20)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, (answer.getheader("Set-Cookie") or "").partition(";")[0]


def enter(server: Server, code: str) -> tuple[int, str]:
    return ask(server, "POST", "/portal", urlencode({"code": code}), **FORM)


def test_a_link_is_made_on_one_node_opened_on_another_and_its_session_known_to_both(
    own_server: Callable[..., Server], database: str, tmp_path: Path
) -> None:
    first = own_server()
    nodes = [first]
    if database == "postgres":
        nodes.append(Server(tmp_path, first.database_url).start())
    try:
        with closing(first.client()) as operator:
            company = operator.company("Acme")
            status, cookie = enter(nodes[-1], code_of(operator, company))
            assert status == 303
            assert [ask(node, "GET", "/subscriptions", Cookie=cookie)[0] for node in nodes] == [200] * len(nodes)
            code = code_of(operator, company)
            with ThreadPoolExecutor(8) as at_once:
                answers = list(at_once.map(lambda number: enter(nodes[number % len(nodes)], code)[0], range(16)))
            assert sorted(answers) == [303] + [410] * 15
            assert operator.call("DELETE", f"/v1/companies/{company}").status == 204
            until(
                lambda: [ask(node, "GET", "/subscriptions", Cookie=cookie)[0] for node in nodes] == [303] * len(nodes),
                "the session ends on each node",
            )
    finally:
        for node in nodes[1:]:
            node.close()


def test_a_link_that_was_answered_survives_a_kill_and_is_in_no_log(own_server: Callable[..., Server]) -> None:
    server = own_server()
    with closing(server.client()) as operator:
        company = operator.company("Acme")
        codes = [code_of(operator, company) for _ in range(2)]
        status, _ = enter(server, codes[0])
        assert status == 303
    server.kill()
    server.restart()
    assert enter(server, codes[0])[0] == 410
    assert enter(server, codes[1])[0] == 303
    assert [code for code in codes if code in server.log] == []
