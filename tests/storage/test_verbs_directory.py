"""Companies, tokens and the catalogue: each change is seen at once, and counted."""

import asyncio

import pytest
from msgspec.structs import replace
from storage_samples import NOON_MS, a_company, a_subscription, claim, digest, populate, publish, published, states_of

from hookline.model import Company, DeliveryState, EventType, PayloadVersion, Role, Token, TypeKind
from hookline.storage.protocol import CompanyDeletion, Creation, Storage
from hookline.storage.views import SubscriptionQuery

pytestmark = pytest.mark.anyio


def a_token(token_id: int = 11, company_id: int | None = 101, **changes: object) -> Token:
    plain = Token(
        id=token_id,
        company_id=company_id,
        name=f"Token {token_id}",
        role=Role.MEMBER if company_id else Role.OPERATOR,
        hash=digest(str(token_id).encode()),
        created_at=NOON_MS,
    )
    return replace(plain, **changes)


# --- companies -------------------------------------------------------------------------------------------------------


async def test_a_company_reads_back_as_it_was_stored_and_changed(storage: Storage) -> None:
    company = Company(id=101, name="Łódź & Søn 会社", created_at=NOON_MS, retention_days=7)
    assert await storage.create_company(company) is Creation.CREATED
    assert await storage.company(101) == company
    changed = replace(company, name="Renamed", retention_days=None)
    assert await storage.replace_company(company, changed)
    assert await storage.company(101) == changed
    assert not await storage.replace_company(company, replace(company, name="Late")), "it is not as it was any more"
    assert await storage.company(101) == changed
    assert not await storage.replace_company(a_company(102), a_company(102))


async def test_of_changes_of_a_company_that_was_read_before_all_of_them_one_is_stored(storage: Storage) -> None:
    await storage.create_company(a_company())
    asked = [replace(a_company(), retention_days=days) for days in range(1, 11)]
    stored = await asyncio.gather(*(storage.replace_company(a_company(), each) for each in asked))
    assert sum(stored) == 1
    assert await storage.company(101) == asked[stored.index(True)]


async def test_a_companys_id_is_given_once(storage: Storage) -> None:
    assert await storage.create_company(a_company()) is Creation.CREATED
    assert await storage.create_company(replace(a_company(), name="Other")) is Creation.ID_TAKEN
    assert await storage.delete_company(101, cascade=False) is CompanyDeletion.DELETED
    assert await storage.create_company(a_company()) is Creation.ID_TAKEN, "also after it was deleted"


async def test_the_built_in_company_can_be_read_and_nothing_else(storage: Storage) -> None:
    built_in = await storage.company(1)
    assert built_in
    assert built_in.name == "operator"
    assert not await storage.replace_company(built_in, replace(built_in, name="mine"))
    assert await storage.delete_company(1, cascade=True) is CompanyDeletion.NOT_FOUND
    assert (await storage.companies(0, 10)).items == ()


async def test_companies_page_by_id(storage: Storage) -> None:
    for company_id in (105, 101, 103):
        await storage.create_company(a_company(company_id))
    first = await storage.companies(0, 2)
    assert ([company.id for company in first.items], first.next_after_id) == ([101, 103], 103)
    second = await storage.companies(103, 2)
    assert ([company.id for company in second.items], second.next_after_id) == ([105], None)


async def test_a_company_with_subscriptions_is_deleted_only_with_them(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002], 102: [2001]})
    event_id = await published(storage, {101: [1001, 1002], 102: [2001]})
    assert await storage.delete_company(101, cascade=False) is CompanyDeletion.HAS_SUBSCRIPTIONS
    assert await storage.company(101)
    assert await storage.delete_company(101, cascade=True) is CompanyDeletion.DELETED
    assert await storage.company(101) is None
    assert await storage.subscription(1001) is None
    everything = SubscriptionQuery(company_id=None, versions=tuple(PayloadVersion))
    assert [subscription.id for subscription in (await storage.subscriptions(everything)).items] == [2001]
    assert await states_of(storage, event_id) == {
        1001: DeliveryState.CANCELLED,
        1002: DeliveryState.CANCELLED,
        2001: DeliveryState.PENDING,
    }
    assert [one.company_id for one in (await claim(storage)).deliveries] == [102]
    assert await storage.delete_company(101, cascade=True) is CompanyDeletion.NOT_FOUND
    assert not await storage.replace_company(a_company(101), a_company(101))


async def test_deleting_a_company_while_subscriptions_are_made_leaves_none(storage: Storage) -> None:
    await populate(storage, {101: []})
    await asyncio.gather(
        *(storage.create_subscription(a_subscription(1001 + number), 100) for number in range(10)),
        storage.delete_company(101, cascade=True),
        *(storage.create_subscription(a_subscription(1101 + number), 100) for number in range(10)),
    )
    everything = SubscriptionQuery(company_id=None, versions=tuple(PayloadVersion))
    assert (await storage.subscriptions(everything)).items == ()


# --- tokens ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_found_by_its_hash_until_it_is_revoked(storage: Storage) -> None:
    await populate(storage, {101: []})
    token = a_token(expires_at=NOON_MS + 1)
    assert await storage.create_token(token) is Creation.CREATED
    assert await storage.token_by_hash(token.hash) == token
    assert await storage.token_by_hash(digest(b"other")) is None
    assert await storage.revoke_token(101, 11)
    assert await storage.token_by_hash(token.hash) is None
    assert not await storage.revoke_token(101, 11)


async def test_a_tokens_id_and_hash_are_given_once(storage: Storage) -> None:
    await populate(storage, {101: []})
    await storage.create_token(a_token(11))
    assert await storage.create_token(replace(a_token(11), hash=digest(b"other"))) is Creation.ID_TAKEN
    assert await storage.create_token(replace(a_token(12), hash=a_token(11).hash)) is Creation.ID_TAKEN


async def test_a_token_is_revoked_only_by_whom_it_belongs_to(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    await storage.create_token(a_token(11, company_id=101))
    await storage.create_token(a_token(12, company_id=None))
    for company_id, token_id in ((102, 11), (None, 11), (101, 12)):
        assert not await storage.revoke_token(company_id, token_id)
    assert await storage.revoke_token(101, 11)
    assert await storage.revoke_token(None, 12)


async def test_tokens_page_by_id_apart_for_each_company_and_the_installation(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    for token_id, company_id in ((15, 101), (11, 101), (13, 101), (12, 102), (14, None)):
        await storage.create_token(a_token(token_id, company_id))
    first = await storage.tokens(101, 0, 2)
    assert ([token.id for token in first.items], first.next_after_id) == ([11, 13], 13)
    assert [token.id for token in (await storage.tokens(101, 13, 2)).items] == [15]
    assert [token.id for token in (await storage.tokens(102, 0, 9)).items] == [12]
    assert [token.role for token in (await storage.tokens(None, 0, 9)).items] == [Role.OPERATOR]


async def test_a_company_takes_its_tokens_with_it(storage: Storage) -> None:
    await populate(storage, {101: []})
    await storage.create_token(a_token())
    await storage.delete_company(101, cascade=False)
    assert await storage.token_by_hash(a_token().hash) is None
    assert await storage.create_token(a_token(12)) is Creation.NO_COMPANY
    assert await storage.create_token(a_token(13, company_id=999)) is Creation.NO_COMPANY


async def test_deleting_a_company_while_tokens_are_made_leaves_none(storage: Storage) -> None:
    await populate(storage, {101: []})
    tokens = [a_token(11 + number) for number in range(20)]
    await asyncio.gather(
        *map(storage.create_token, tokens[:10]),
        storage.delete_company(101, cascade=True),
        *map(storage.create_token, tokens[10:]),
    )
    assert [await storage.token_by_hash(token.hash) for token in tokens] == [None] * 20


async def test_the_change_counter_rises_with_each_change_of_tokens_companies_and_catalogue(storage: Storage) -> None:
    seen = [await storage.change_counter()]

    async def assert_risen() -> None:
        seen.append(await storage.change_counter())
        assert seen[-1] > seen[-2]

    await storage.create_company(a_company())
    await assert_risen()
    await storage.replace_company(a_company(), replace(a_company(), name="Renamed"))
    await assert_risen()
    await storage.create_token(a_token())
    await assert_risen()
    await storage.revoke_token(101, 11)
    await assert_risen()
    await storage.put_event_type(EventType(name="order.paid", v1_name=None, v2_name=None))
    await assert_risen()
    await storage.delete_event_type("order.paid")
    await assert_risen()
    await storage.delete_company(101, cascade=False)
    await assert_risen()


async def test_what_changes_nothing_does_not_raise_the_change_counter(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    before = await storage.change_counter()
    await publish(storage)
    await storage.probe()
    await storage.revoke_token(None, 99)
    await storage.delete_event_type("nothing")
    await storage.create_company(a_company(101))
    assert await storage.change_counter() == before


# --- the catalogue ---------------------------------------------------------------------------------------------------


async def test_a_new_database_knows_the_built_in_types(storage: Storage) -> None:
    catalogue = await storage.catalogue()
    assert len(catalogue.types) == 10
    assert catalogue.types["note.created"] == EventType(
        name="note.created",
        v1_name="note.created",
        v2_name="org.tsanet.connect.collaboration-request.note.created",
    )
    assert catalogue.types["collaboration-request.closed"].v1_name is None
    assert catalogue.types["webhook.ping"].kind is TypeKind.PING
    assert catalogue.types["delivery.dead"].kind is TypeKind.OPERATIONAL


async def test_a_type_reads_back_as_it_was_put_and_replaced(storage: Storage) -> None:
    paid = EventType(
        name="order.paid",
        v1_name="paid",
        v2_name="org.example.paid",
        description="Money came.",
        schema=b'{"type":"object"}',
    )
    assert await storage.put_event_type(paid)
    first = await storage.catalogue()
    assert first.types["order.paid"] == paid
    assert await storage.put_event_type(replace(paid, v1_name=None, description=None, schema=None))
    second = await storage.catalogue()
    assert second.types["order.paid"] == EventType(name="order.paid", v1_name=None, v2_name="org.example.paid")
    assert second.revision == first.revision + 1


async def test_a_name_in_a_version_belongs_to_one_type(storage: Storage) -> None:
    paid = EventType(name="order.paid", v1_name="paid", v2_name="org.example.paid")
    await storage.put_event_type(paid)
    before = await storage.catalogue()
    assert not await storage.put_event_type(EventType(name="other", v1_name="paid", v2_name=None))
    assert not await storage.put_event_type(EventType(name="other", v1_name=None, v2_name="org.example.paid"))
    assert await storage.catalogue() == before
    assert await storage.put_event_type(EventType(name="other", v1_name="org.example.paid", v2_name="paid"))
    assert await storage.put_event_type(paid), "its own names are not in its way"


async def test_a_type_is_deleted_once(storage: Storage) -> None:
    before = (await storage.catalogue()).revision
    assert await storage.delete_event_type("note.created")
    catalogue = await storage.catalogue()
    assert "note.created" not in catalogue.types
    assert catalogue.revision == before + 1
    assert not await storage.delete_event_type("note.created")
    assert (await storage.catalogue()).revision == before + 1


async def test_of_twenty_types_with_one_name_at_once_one_gets_it(storage: Storage) -> None:
    rivals = [EventType(name=f"type.{number}", v1_name="wanted", v2_name=None) for number in range(20)]
    assert sum(await asyncio.gather(*map(storage.put_event_type, rivals))) == 1


async def test_a_probe_can_be_repeated(storage: Storage) -> None:
    await storage.probe()
    await asyncio.gather(*(storage.probe() for _ in range(20)))
