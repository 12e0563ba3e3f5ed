"""Somebody signs in, works with what that brings, and is out everywhere once the account has gone."""

import base64
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from .harness import Client, Server, until
from .receiver import Receiver

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def other_node(server: Server, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a second node on the same database; on SQLite, where there is none, the first."""
    if database == "sqlite":
        yield server
        return
    second = Server(tmp_path_factory.mktemp("second"), server.database_url).start()
    yield second
    second.close()


def test_whoever_signs_in_is_a_member_until_the_account_goes_on_every_node(
    server: Server, other_node: Server, operator: Client, receiver: Receiver
) -> None:
    company = operator.company()
    made = operator.made("POST", f"/v1/companies/{company}/accounts", {"username": "ann", "password": "correct horse"})
    nobody = operator.as_(None)
    logged_in = nobody.made("POST", "/v1/login", {"username": "ann", "password": "correct horse"})
    pair = base64.b64encode(f"{made['clientId']}:{made['clientSecret']}".encode()).decode()
    form = urlencode({"grant_type": "client_credentials"}).encode()
    granted = nobody.made("POST", "/oauth2/token", form, {"Authorization": f"Basic {pair}", **FORM})
    clients = [
        node.client(token)
        for node in (server, other_node)
        for token in (logged_in["accessToken"], granted["access_token"])
    ]
    for client in clients:
        assert client.made("GET", "/v1/me")["user"] == {"id": made["id"], "username": "ann"}
    subscription = clients[0].made("POST", "/v1/webhooks", {"callbackUrl": receiver.url("/anns")})
    assert clients[-1].made("GET", f"/v1/webhooks/{subscription['id']}")["companyId"] == company
    operator.made("DELETE", f"/v1/companies/{company}/accounts/{made['id']}")
    until(lambda: {client.call("GET", "/v1/me").status for client in clients} == {401}, "the tokens end", 1.5)
    wrong = [
        nobody.call("POST", "/v1/login", {"username": name, "password": "correct horse"}) for name in ("ann", "bob")
    ]
    assert {(answer.status, answer.body) for answer in wrong} == {(401, wrong[0].body)}
    for client in clients:
        client.close()


def test_ten_failures_make_a_client_wait_for_the_rest_of_the_minute(operator: Client) -> None:
    company = operator.company()
    made = operator.made("POST", f"/v1/companies/{company}/accounts", {"username": "carol"})
    nobody = operator.as_(None)
    form = {"grant_type": "client_credentials", "client_id": made["clientId"]}
    for _ in range(10):
        wrong = nobody.call("POST", "/oauth2/token", urlencode(form | {"client_secret": "no"}).encode(), FORM)
        assert (wrong.status, wrong.json["error"]) == (401, "invalid_client")
    right = nobody.call(
        "POST", "/oauth2/token", urlencode(form | {"client_secret": made["clientSecret"]}).encode(), FORM
    )
    assert right.status == 429
    assert 1 <= int(right.headers["retry-after"]) <= 60
