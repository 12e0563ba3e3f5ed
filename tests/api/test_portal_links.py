"""Links to a company's face: who may make them, what is refused, and what is stored of them."""

import re
from collections.abc import Iterator

import pytest

from api.loopback import Server, StorageIn
from api.world import World
from hookline.clock import rfc3339
from hookline.tokens import hash_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, storage_in: StorageIn) -> Iterator[Server]:
    variables = {"HOOKLINE_PUBLIC_URL": "https://hooks.example.com/"}
    server = Server(tmp_path_factory.mktemp("portal"), variables, storage_in=storage_in)
    yield server
    server.close()


@pytest.mark.parametrize("body", [None, {}, {"role": None}, {"role": "viewer"}, {"role": "member"}])
def test_a_link_is_made_for_five_minutes_at_the_public_address(
    server: Server, world: World, body: dict[str, str] | None
) -> None:
    answer = server.call("POST", f"/v1/companies/{world.company}/portal-links", body)
    assert answer.status == 201, answer.body
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json.keys() == {"url", "expiresAt"}
    assert answer.json["expiresAt"] == rfc3339(server.clock.wall_ms() + 300_000)
    found = re.fullmatch(r"https://hooks\.example\.com/portal#(hkl_link_[\w-]{49})", answer.json["url"])
    assert found
    opened = server.run(server.api.links.redeem(found[1]))
    assert opened
    assert (opened[1].role, opened[1].company_id) == ((body or {}).get("role") or "viewer", world.company)
    assert hash_of(found[1]) != opened[1].hash


@pytest.mark.parametrize("body", [{"role": "operator"}, {"role": "publisher"}, {"role": ""}, {"role": 1}])
def test_another_role_is_refused_at_its_field(server: Server, world: World, body: object) -> None:
    answer = server.call("POST", f"/v1/companies/{world.company}/portal-links", body)
    assert answer.status == 400
    assert [error["field"] for error in answer.json["validationErrors"]] == ["role"]


@pytest.mark.parametrize("company", ["1999999999", "abc", "0"])
def test_no_company_has_no_link(server: Server, company: str) -> None:
    assert server.call("POST", f"/v1/companies/{company}/portal-links").status == 404


@pytest.mark.parametrize("role", ["member", "viewer", "publisher"])
def test_only_an_operator_makes_one(server: Server, world: World, role: str) -> None:
    answer = server.call("POST", f"/v1/companies/{world.company}/portal-links", token=world.tokens[role])
    assert answer.status == 403


@pytest.mark.parametrize("code", ["", "hkl_link_x", "hkl_view_" + "A" * 49, "\0", "ünï", "hkl_link_" + "A" * 49])
def test_what_is_no_code_opens_nothing(server: Server, code: str) -> None:
    assert server.run(server.api.links.redeem(code)) is None
