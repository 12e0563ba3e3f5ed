"""Accounts and the tokens that their owners sign in for: gone together, on every node, and in no list."""

import asyncio

import pytest
from msgspec.structs import replace
from storage_samples import NOON_MS, HandClock, digest, populate

from hookline.model import Account, Role, Token
from hookline.storage.protocol import AccountCreation, CompanyDeletion, Creation, Storage

pytestmark = pytest.mark.anyio

HOUR_MS = 3_600_000


def an_account(account_id: int = 21, company_id: int = 101, **changes: object) -> Account:
    plain = Account(
        id=account_id,
        company_id=company_id,
        username=f"user {account_id}",
        password="$scrypt$",
        secret_hash=digest(str(account_id).encode()),
        created_at=NOON_MS,
    )
    return replace(plain, **changes)


def a_pass(
    token_id: int = 31, account_id: int = 21, company_id: int = 101, expires_at: int = NOON_MS + HOUR_MS
) -> Token:
    return Token(
        id=token_id,
        company_id=company_id,
        name="signed in",
        role=Role.MEMBER,
        hash=digest(f"pass {token_id}".encode()),
        created_at=NOON_MS,
        expires_at=expires_at,
        account_id=account_id,
        is_pass=True,
    )


async def test_an_account_is_found_by_id_and_by_name(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    accounts = [an_account(), an_account(22, username="Ann ünï", password=None)]
    for account in accounts:
        assert await storage.create_account(account) is AccountCreation.CREATED
        assert await storage.account(account.id) == account
        assert await storage.account_by_username(account.username) == account
    for name in ("", "ann ünï", "Ann ün", "user 21\0", "user 21 "):
        assert await storage.account_by_username(name) is None
    for nobody in (0, 23, 2**31, 2**53):
        assert await storage.account(nobody) is None


async def test_ids_and_names_are_given_once_in_all_companies(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    await storage.create_account(an_account())
    again = an_account(company_id=102)
    assert await storage.create_account(replace(again, username="other")) is AccountCreation.ID_TAKEN
    assert await storage.create_account(replace(again, id=22)) is AccountCreation.USERNAME_TAKEN
    assert (
        await storage.create_account(replace(again, id=22, company_id=999, username="x")) is AccountCreation.NO_COMPANY
    )
    assert await storage.account_by_username("other") is None
    assert await storage.delete_account(101, 21)
    assert await storage.create_account(replace(again, id=22)) is AccountCreation.CREATED, "a name is free again"


async def test_accounts_page_by_id_apart_for_each_company(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    for account_id, company_id in ((25, 101), (21, 101), (23, 101), (22, 102)):
        await storage.create_account(an_account(account_id, company_id))
    first = await storage.accounts(101, 0, 2)
    assert ([account.id for account in first.items], first.next_after_id) == ([21, 23], 23)
    assert [account.id for account in (await storage.accounts(101, 23, 2)).items] == [25]
    assert [account.id for account in (await storage.accounts(102, 0, 9)).items] == [22]


async def test_a_pass_is_found_by_its_hash_and_stands_in_no_list(storage: Storage) -> None:
    await populate(storage, {101: []})
    await storage.create_account(an_account())
    before = await storage.change_counter()
    assert await storage.create_token(a_pass()) is Creation.CREATED
    assert await storage.change_counter() == before, "a new pass makes no cache wrong"
    assert await storage.token_by_hash(a_pass().hash) == a_pass()
    assert (await storage.tokens(101, 0, 9)).items == ()
    assert not await storage.revoke_token(101, 31)
    assert await storage.create_token(a_pass()) is Creation.ID_TAKEN
    assert await storage.create_token(a_pass(32, account_id=22)) is Creation.NO_COMPANY


async def test_an_account_takes_its_passes_with_it_and_is_counted(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    for account_id in (21, 22):
        await storage.create_account(an_account(account_id))
        await storage.create_token(a_pass(account_id + 10, account_id))
    assert not await storage.delete_account(102, 21)
    assert not await storage.delete_account(101, 29)
    before = await storage.change_counter()
    assert await storage.delete_account(101, 21)
    assert await storage.change_counter() > before
    assert await storage.token_by_hash(a_pass(31).hash) is None
    assert await storage.token_by_hash(a_pass(32).hash)
    assert not await storage.delete_account(101, 21)
    assert await storage.create_token(a_pass(33, 21)) is Creation.NO_COMPANY


async def test_a_company_takes_its_accounts_with_it(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    for account_id, company_id in ((21, 101), (22, 102)):
        await storage.create_account(an_account(account_id, company_id))
        await storage.create_token(a_pass(account_id + 10, account_id, company_id))
    assert await storage.delete_company(101, cascade=False) is CompanyDeletion.DELETED
    assert (await storage.account(21), await storage.token_by_hash(a_pass(31).hash)) == (None, None)
    assert await storage.account(22)
    assert await storage.create_account(an_account(23)) is AccountCreation.NO_COMPANY


@pytest.mark.parametrize("whole_company", [False, True])
async def test_deleting_while_people_sign_in_leaves_nobody_in(storage: Storage, *, whole_company: bool) -> None:
    await populate(storage, {101: []})
    await storage.create_account(an_account())
    passes = [a_pass(31 + number) for number in range(30)]
    delete = storage.delete_company(101, cascade=True) if whole_company else storage.delete_account(101, 21)
    await asyncio.gather(
        *(storage.create_token(each) for each in passes[:15]),
        delete,
        *(storage.create_token(each) for each in passes[15:]),
    )
    assert [await storage.token_by_hash(each.hash) for each in passes] == [None] * 30


async def test_passes_that_have_run_out_are_forgotten_in_steps_and_other_tokens_never(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: []})
    await storage.create_account(an_account())
    for number in range(5):
        await storage.create_token(a_pass(31 + number, expires_at=NOON_MS + HOUR_MS + number))
    await storage.create_token(replace(a_pass(40, expires_at=NOON_MS + 1), account_id=None, is_pass=False))
    clock.now += HOUR_MS + 3
    assert [await storage.forget_keys(3), await storage.forget_keys(3), await storage.forget_keys(3)] == [3, 1, 0]
    assert await storage.token_by_hash(a_pass(35).hash)
    assert await storage.token_by_hash(a_pass(40).hash)


async def test_an_account_signs_out_of_all_it_signed_in_for_and_nobody_else_does(storage: Storage) -> None:
    await populate(storage, {101: []})
    for account_id in (21, 22):
        await storage.create_account(an_account(account_id))
    for token_id, account_id in ((31, 21), (32, 21), (33, 22)):
        assert await storage.create_token(a_pass(token_id, account_id)) is Creation.CREATED
    before = await storage.change_counter()
    assert await storage.revoke_passes(21)
    assert await storage.change_counter() > before
    assert not await storage.revoke_passes(21)
    assert [await storage.token_by_hash(a_pass(each).hash) is None for each in (31, 32, 33)] == [True, True, False]
    assert await storage.account(21)
