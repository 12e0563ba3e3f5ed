"""A token that asks too often is told to wait, and takes nothing from others."""

from collections.abc import Iterator

import pytest

from api.loopback import Server
from api.world import World


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("rates"), {"HOOKLINE_RATE_TOKEN_PER_SECOND": "20"})
    yield server
    server.close()


@pytest.fixture(autouse=True)
def rested(server: Server) -> None:
    server.clock.advance(2)


def statuses(server: Server, token: str, count: int) -> list[int]:
    return [server.call("GET", "/v1/me", token=token).status for _ in range(count)]


def test_a_token_beyond_its_rate_waits_alone(server: Server, world: World) -> None:
    server.clock.advance(2)
    member, viewer = world.tokens["member"], world.tokens["viewer"]
    assert statuses(server, member, 20) == [200] * 20
    refused = server.call("GET", "/v1/me", token=member)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["content-type"] == "application/problem+json"
    assert server.call("GET", "/v1/nowhere", token=member).status == 429
    assert statuses(server, viewer, 2) == [200, 200]
    server.clock.advance(0.05)
    assert statuses(server, member, 2) == [200, 429]
    server.clock.advance(1)
    assert statuses(server, member, 20) == [200] * 20


def test_an_account_has_one_rate_for_all_of_its_tokens(server: Server, world: World) -> None:
    path = f"/v1/companies/{world.company}/accounts"
    made = server.call("POST", path, {"username": "ann", "password": "p"})
    logins = [server.call("POST", "/v1/login", {"username": "ann", "password": "p"}, token=None) for _ in range(2)]
    first, second = (login.json["accessToken"] for login in logins)
    assert made.status == 201
    assert statuses(server, first, 15) == [200] * 15
    assert statuses(server, second, 7) == [200] * 5 + [429] * 2


def test_whoever_has_no_token_is_not_counted(server: Server) -> None:
    assert [server.call("GET", "/healthz", token=None).status for _ in range(30)] == [200] * 30
    assert [server.call("GET", "/v1/me", token="x").status for _ in range(30)] == [401] * 30
