"""Tokens over HTTP, and what the authenticator believes of them."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from api.loopback import Server
from api.world import OPERATOR_TOKEN, Dial, Faults, World
from hookline import tokens
from hookline.authentication import Authenticator
from hookline.errors import Unauthenticated, Unavailable
from hookline.model import Role, Token
from hookline.storage.protocol import Storage
from hookline.storage.sqlite import SqliteStorage


def test_a_token_is_shown_once_works_and_is_revoked_at_once(server: Server, world: World) -> None:
    path = f"/v1/companies/{world.company}/tokens"
    made = server.call("POST", path, {"name": "ci", "role": "viewer"})
    assert made.status == 201
    text = made.json.pop("token")
    shown = {name: value for name, value in made.json.items() if name != "token"}
    assert shown["companyId"] == world.company
    assert (shown["name"], shown["role"], shown["expiresAt"]) == ("ci", "viewer", None)
    listed = server.call("GET", path)
    assert shown in listed.json["items"]
    assert text.encode() not in listed.body
    assert server.call("GET", "/v1/me", token=text).json["role"] == "viewer"
    assert server.call("DELETE", f"{path}/{shown['id']}").status == 204
    assert server.call("GET", "/v1/me", token=text).status == 401
    assert server.call("DELETE", f"{path}/{shown['id']}").status == 404


def test_no_clear_token_is_at_rest(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = server.call("POST", "/v1/tokens", {"name": "a", "role": "publisher"}).json["token"]
    written = [path.read_bytes() for path in tmp_path_factory.getbasetemp().rglob("hookline.db*") if path.is_file()]
    assert written
    assert not any(text.encode() in content for content in written)


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [
        ("/v1/tokens", "operator", 201),
        ("/v1/tokens", "publisher", 201),
        ("/v1/tokens", "member", 400),
        ("/v1/tokens", "viewer", 400),
        ("/v1/tokens", "root", 400),
        ("/v1/companies/{}/tokens", "member", 201),
        ("/v1/companies/{}/tokens", "viewer", 201),
        ("/v1/companies/{}/tokens", "operator", 400),
        ("/v1/companies/{}/tokens", "publisher", 400),
    ],
)
def test_each_path_makes_its_own_roles(server: Server, world: World, path: str, role: str, status: int) -> None:
    answer = server.call("POST", path.format(world.company), {"name": "a", "role": role})
    assert answer.status == status
    if status == 400:
        assert answer.json["validationErrors"][0]["field"] == "role"


def test_a_company_reaches_no_token_but_its_own(server: Server, world: World) -> None:
    own = server.call("POST", f"/v1/companies/{world.company}/tokens", {"name": "a", "role": "viewer"}).json
    assert server.call("DELETE", f"/v1/companies/{world.other_company}/tokens/{own['id']}").status == 404
    assert server.call("DELETE", f"/v1/tokens/{own['id']}").status == 404
    assert server.call("GET", "/v1/me", token=own["token"]).status == 200


@pytest.mark.parametrize(
    "expires_at", ["2026-11-18T12:30:00+01:00", "2026-11-18T11:06:40.001Z", "9999-12-31T23:59:59Z"]
)
def test_an_expiry_in_the_future_is_taken_with_any_offset(server: Server, expires_at: str) -> None:
    answer = server.call("POST", "/v1/tokens", {"name": "a", "role": "publisher", "expiresAt": expires_at})
    assert answer.status == 201
    assert answer.json["expiresAt"].endswith("Z")


@pytest.mark.parametrize(
    "expires_at",
    [
        "2026-11-18T11:06:40Z",
        "2026-11-18T13:00:00+02:00",
        "2027-01-01T00:00:00",
        "2027-01-01",
        "soon",
        5,
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_another_expiry_is_refused(server: Server, expires_at: object) -> None:
    answer = server.call("POST", "/v1/tokens", {"name": "a", "role": "publisher", "expiresAt": expires_at})
    assert (answer.status, answer.json["validationErrors"][0]["field"]) == (400, "expiresAt")


def test_a_token_ends_at_its_expiry(server: Server) -> None:
    body = {"name": "a", "role": "operator", "expiresAt": "2026-11-18T11:06:41Z"}
    text = server.call("POST", "/v1/tokens", body).json["token"]
    assert server.call("GET", "/v1/me", token=text).status == 200
    server.clock.advance(1)
    try:
        assert server.call("GET", "/v1/me", token=text).status == 401
    finally:
        server.clock.advance(-1)


# --- the authenticator alone, on a clock of its own ------------------------------------------------------------------


class Node:
    """One node's authenticator over a storage that other nodes change behind its back."""

    def __init__(self, path: Path) -> None:
        self.clock = Dial()
        self.faults = Faults(SqliteStorage(str(path / "a.db"), clock=self.clock))
        self.storage = cast("Storage", self.faults)
        self.authenticator = Authenticator(self.storage, self.clock, [OPERATOR_TOKEN])
        self.text = tokens.new_token(Role.OPERATOR, lambda size: bytes(range(size)))

    async def store(self) -> None:
        token = Token(
            id=7,
            company_id=None,
            name="a",
            role=Role.OPERATOR,
            hash=tokens.hash_of(self.text),
            created_at=0,
        )
        await self.storage.create_token(token)

    async def is_believed(self, text: str | None = None) -> bool:
        try:
            await self.authenticator.authenticate([(b"authorization", f"Bearer {text or self.text}".encode())])
        except Unauthenticated:
            return False
        return True


async def _revocation_elsewhere(node: Node) -> None:
    await node.store()
    assert await node.is_believed()
    await node.storage.revoke_token(None, 7)
    assert await node.is_believed(), "the cache was not used"
    node.clock.advance(1)
    assert not await node.is_believed()


async def _new_token_elsewhere(node: Node) -> None:
    assert not await node.is_believed()
    await node.store()
    node.clock.advance(1)
    assert await node.is_believed()


async def _database_away(node: Node) -> None:
    await node.store()
    assert await node.is_believed()
    node.faults.failing = Unavailable("away")
    node.clock.advance(0.9)
    assert await node.is_believed(), "within a second it goes on"
    node.clock.advance(0.2)
    with pytest.raises(Unavailable):
        await node.is_believed()
    assert await node.is_believed(OPERATOR_TOKEN), "the environment's token needs no database"
    node.faults.failing = None
    assert await node.is_believed()


async def _many_at_once(node: Node) -> None:
    await node.store()
    assert all(await asyncio.gather(*(node.is_believed() for _ in range(100))))


@pytest.mark.parametrize("story", [_revocation_elsewhere, _new_token_elsewhere, _database_away, _many_at_once])
def test_what_is_cached_is_believed_for_a_second_at_most(tmp_path: Path, story: object) -> None:
    async def run() -> None:
        node = Node(tmp_path)
        await node.storage.open()
        try:
            await story(node)  # type: ignore[operator]
        finally:
            await node.storage.close()

    asyncio.run(run())
