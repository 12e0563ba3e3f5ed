"""Links that sign somebody in: once, in time, whoever else tries, and never into a company that is gone."""

import asyncio

import pytest
from msgspec.structs import replace
from storage_samples import NOON_MS, HandClock, OpenStorage, digest, populate

from hookline.model import Action, Change, Link, Role, Token
from hookline.storage.protocol import CompanyDeletion, Redemption, Storage

pytestmark = pytest.mark.anyio

MINUTE_MS = 60_000


def a_link(number: int = 1, company_id: int | None = 101, role: Role = Role.VIEWER) -> Link:
    return Link(
        hash=digest(f"link {number}".encode()),
        company_id=company_id,
        role=role,
        name="portal",
        created_at=NOON_MS,
        expires_at=NOON_MS + 5 * MINUTE_MS,
        session_ms=60 * MINUTE_MS,
    )


async def redeem(storage: Storage, link: Link, token_id: int = 31) -> Token | Redemption:
    return await storage.redeem_link(link.hash, token_id, digest(f"pass {token_id}".encode()))


async def test_a_link_is_exchanged_once_for_a_pass_of_its_company_and_role(storage: Storage) -> None:
    await populate(storage, {101: []})
    for number, role in enumerate((Role.VIEWER, Role.MEMBER)):
        link = a_link(number, role=role)
        assert await storage.create_link(link)
        token = await redeem(storage, link, 31 + number)
        assert isinstance(token, Token)
        assert (token.company_id, token.role, token.name, token.account_id) == (101, role, "portal", None)
        assert (token.created_at, token.expires_at, token.is_pass) == (NOON_MS, NOON_MS + 60 * MINUTE_MS, True)
        assert await storage.token_by_hash(token.hash) == token
        assert await redeem(storage, link, 41) is Redemption.SPENT
    assert await storage.token_by_hash(digest(b"pass 41")) is None


async def test_a_link_of_an_operator_belongs_to_no_company(storage: Storage) -> None:
    link = a_link(company_id=None, role=Role.OPERATOR)
    assert await storage.create_link(link)
    token = await redeem(storage, link)
    assert isinstance(token, Token)
    assert (token.company_id, token.role) == (None, Role.OPERATOR)


async def test_a_pass_stands_in_no_list_is_not_revoked_by_id_and_makes_no_cache_wrong(storage: Storage) -> None:
    await populate(storage, {101: []})
    before = await storage.change_counter()
    for number, company_id in enumerate((101, None)):
        link = a_link(number, company_id, Role.VIEWER if company_id else Role.OPERATOR)
        await storage.create_link(link)
        assert isinstance(await redeem(storage, link, 31 + number), Token)
        assert (await storage.tokens(company_id, 0, 9)).items == ()
        assert not await storage.revoke_token(company_id, 31 + number)
    assert await storage.change_counter() == before


async def test_a_pass_is_revoked_by_itself_and_other_tokens_never_so(storage: Storage) -> None:
    await populate(storage, {101: []})
    await storage.create_link(a_link())
    session = await redeem(storage, a_link())
    assert isinstance(session, Token)
    ordinary = replace(session, id=32, hash=digest(b"ordinary"), is_pass=False)
    await storage.create_token(ordinary)
    before = await storage.change_counter()
    assert await storage.revoke_pass(session.id)
    assert await storage.change_counter() > before
    assert not await storage.revoke_pass(session.id)
    assert not await storage.revoke_pass(ordinary.id)
    assert await storage.token_by_hash(session.hash) is None
    assert await storage.token_by_hash(ordinary.hash) == ordinary


async def test_of_many_who_exchange_a_link_at_once_one_gets_in(storage: Storage) -> None:
    await populate(storage, {101: []})
    for number in range(5):
        link = a_link(number)
        await storage.create_link(link)
        answers = await asyncio.gather(*(redeem(storage, link, 100 * (number + 1) + each) for each in range(10)))
        assert [type(answer) for answer in answers].count(Token) == 1
        assert answers.count(Redemption.SPENT) == 9


async def test_a_link_has_its_time_to_the_millisecond(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    for number in (1, 2):
        await storage.create_link(a_link(number))
    clock.now += 5 * MINUTE_MS - 1
    assert isinstance(await redeem(storage, a_link(1)), Token)
    clock.now += 1
    assert await redeem(storage, a_link(2), 32) is Redemption.SPENT


async def test_a_taken_id_uses_no_link_up(storage: Storage) -> None:
    await populate(storage, {101: []})
    for number in (1, 2):
        await storage.create_link(a_link(number))
    assert isinstance(await redeem(storage, a_link(1), 31), Token)
    assert await storage.redeem_link(a_link(2).hash, 31, digest(b"another")) is Redemption.ID_TAKEN
    assert isinstance(await redeem(storage, a_link(2), 32), Token)


async def test_a_company_takes_its_links_and_their_sessions_with_it(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    for number, company_id in ((1, 101), (2, 101), (3, 102)):
        await storage.create_link(a_link(number, company_id))
    session = await redeem(storage, a_link(1), 31)
    assert isinstance(session, Token)
    before = await storage.change_counter()
    assert await storage.delete_company(101, cascade=False) is CompanyDeletion.DELETED
    assert await storage.change_counter() > before
    assert await storage.token_by_hash(session.hash) is None
    assert await redeem(storage, a_link(2), 32) is Redemption.SPENT
    assert not await storage.create_link(a_link(4))
    assert isinstance(await redeem(storage, a_link(3, 102), 33), Token)


async def test_deleting_a_company_while_links_are_exchanged_leaves_nobody_in(storage: Storage) -> None:
    await populate(storage, {101: []})
    for number in range(20):
        await storage.create_link(a_link(number))
    await asyncio.gather(
        *(redeem(storage, a_link(number), 31 + number) for number in range(10)),
        storage.delete_company(101, cascade=True),
        *(redeem(storage, a_link(number), 31 + number) for number in range(10, 20)),
    )
    hashes = [digest(f"pass {31 + number}".encode()) for number in range(20)]
    assert [await storage.token_by_hash(each) for each in hashes] == [None] * 20


async def test_a_link_outlives_the_process_that_made_it(open_storage: OpenStorage) -> None:
    storage = await open_storage()
    await populate(storage, {101: []})
    await storage.create_link(a_link())
    await storage.close()
    assert isinstance(await redeem(await open_storage(), a_link()), Token)


async def test_links_and_passes_that_have_run_out_are_forgotten_in_steps(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: []})
    for number in range(6):
        await storage.create_link(replace(a_link(number), expires_at=NOON_MS + 1 + number))
    assert isinstance(await redeem(storage, a_link(5)), Token)
    assert await storage.forget_keys(9) == 0
    clock.now += 60 * MINUTE_MS
    assert [await storage.forget_keys(3), await storage.forget_keys(3), await storage.forget_keys(3)] == [4, 2, 0]


async def test_making_one_is_told_of_and_refusing_one_is_not(storage: Storage) -> None:
    await populate(storage, {101: []})
    for company_id in (101, 999):
        made = Change(actor="a", action=Action.PORTAL_LINK_CREATED, target=str(company_id), company_id=company_id)
        await storage.create_link(a_link(company_id, company_id), change=made)
    entries = [each for each in await storage.audit(None, 9) if each.action is Action.PORTAL_LINK_CREATED]
    assert [entry.target for entry in entries] == ["101"]
