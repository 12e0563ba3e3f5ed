"""Subscriptions are kept whole, changed only over what was read, and read back at once."""

import asyncio

import pytest
from msgspec.structs import replace
from storage_samples import NOON_MS, a_company, a_subscription, change, create, populate

from hookline.model import AuthType, PayloadVersion, Policies, Secret
from hookline.storage.protocol import Creation, Storage
from hookline.storage.views import SubscriptionQuery

pytestmark = pytest.mark.anyio

VERSION_1 = (PayloadVersion.V1, PayloadVersion.STANDARD, PayloadVersion.RAW)
EVERY_VERSION = tuple(PayloadVersion)


async def ids(storage: Storage, query: SubscriptionQuery) -> list[int]:
    return [subscription.id for subscription in (await storage.subscriptions(query)).items]


async def test_a_subscription_reads_back_as_it_was_stored(storage: Storage) -> None:
    await populate(storage, {101: []})
    stored = a_subscription(
        callback_url="https://example.com:8443/in?a=%C3%A9",
        event_types=("note.created", "order.paid"),
        payload_version=PayloadVersion.V2,
        policies=Policies(
            retry_delays_seconds=(1, 2, 3),
            timeout_seconds=7,
            max_in_flight=3,
            content_type="application/json",
            header_names=("X-One", "X-Two"),
        ),
        secrets=(
            Secret(sealed=b"\x00\xffnew", created_at=NOON_MS),
            Secret(sealed=b"old", created_at=NOON_MS - 1, expires_at=NOON_MS + 1),
        ),
        auth_type=AuthType.BASIC,
        auth_sealed=b"\x01\x00",
        headers_sealed=b"\x02\x00",
        trust_sealed=b"\x03\x00",
    )
    await create(storage, stored)
    assert await storage.subscription(1001) == stored
    changed = replace(
        stored,
        revision=2,
        callback_url="https://example.org/",
        event_types=None,
        policies=Policies(retry_delays_seconds="days"),
        secrets=(),
        auth_type=AuthType.NONE,
        auth_sealed=None,
        headers_sealed=None,
        trust_sealed=None,
        active=False,
        inactive_reason="requested",
        inactive_at=NOON_MS + 5,
        updated_at=NOON_MS + 5,
    )
    assert await storage.replace_subscription(changed, lift_hold=False)
    assert await storage.subscription(1001) == changed


async def test_naming_no_event_type_is_not_naming_all(storage: Storage) -> None:
    await populate(storage, {101: []})
    await create(storage, a_subscription(1001, event_types=None))
    await create(storage, a_subscription(1002, event_types=()))
    found = (await storage.routes([101]))[101].routes
    assert [route.event_types for route in found] == [None, ()]


async def test_an_id_is_given_once_in_all_the_installation(storage: Storage) -> None:
    await populate(storage, {101: [1001], 102: []})
    taken = a_subscription(1001, company_id=102)
    assert await storage.create_subscription(taken, 10) is Creation.ID_TAKEN
    await storage.delete_subscription(1001)
    assert await storage.create_subscription(taken, 10) is Creation.ID_TAKEN, "also after it was deleted"


async def test_a_company_that_is_missing_gets_no_subscription(storage: Storage) -> None:
    assert await storage.create_subscription(a_subscription(), 10) is Creation.NO_COMPANY
    await populate(storage, {101: []})
    await storage.delete_company(101, cascade=False)
    assert await storage.create_subscription(a_subscription(), 10) is Creation.NO_COMPANY


async def test_a_quota_counts_what_is_not_deleted(storage: Storage) -> None:
    await populate(storage, {101: [1001, 1002], 102: [2001]})
    assert await storage.create_subscription(a_subscription(1003), 2) is Creation.QUOTA_REACHED
    assert await storage.subscription(1003) is None
    await storage.delete_subscription(1001)
    assert await storage.create_subscription(a_subscription(1003), 2) is Creation.CREATED


async def test_a_quota_holds_for_twenty_at_once(storage: Storage) -> None:
    await populate(storage, {101: []})
    created = await asyncio.gather(
        *(storage.create_subscription(a_subscription(1001 + number), 5) for number in range(20))
    )
    assert created.count(Creation.CREATED) == 5
    assert created.count(Creation.QUOTA_REACHED) == 15


async def test_a_change_over_a_stale_reading_is_refused_whole(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    read = await storage.subscription(1001)
    assert read
    before = (await storage.routes([101]))[101].revision
    first = replace(read, revision=2, callback_url="https://first.example.com/")
    second = replace(read, revision=2, callback_url="https://second.example.com/")
    assert await storage.replace_subscription(first, lift_hold=False)
    assert not await storage.replace_subscription(second, lift_hold=False)
    assert await storage.subscription(1001) == first
    assert (await storage.routes([101]))[101].revision == before + 1


async def test_of_twenty_changes_at_once_one_is_made(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    read = await storage.subscription(1001)
    assert read
    changed = replace(read, revision=2, event_types=("note.created",))
    assert sum(await asyncio.gather(*(storage.replace_subscription(changed, lift_hold=False) for _ in range(20)))) == 1


async def test_each_change_raises_the_companys_revision(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})

    async def revisions() -> tuple[int, int]:
        found = await storage.routes([101, 102])
        return found[101].revision, found[102].revision

    first, other = await revisions()
    await create(storage, a_subscription())
    assert await revisions() == (first + 1, other)
    await change(storage, 1001, event_types=())
    assert await revisions() == (first + 2, other)
    await storage.delete_subscription(1001)
    assert await revisions() == (first + 3, other)


async def test_what_is_deleted_is_gone_and_cannot_be_deleted_or_changed_again(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    read = await storage.subscription(1001)
    assert read
    assert await storage.delete_subscription(1001)
    assert await storage.subscription(1001) is None
    assert await ids(storage, SubscriptionQuery(company_id=101, versions=EVERY_VERSION)) == []
    assert (await storage.routes([101]))[101].routes == ()
    assert not await storage.delete_subscription(1001)
    assert not await storage.replace_subscription(replace(read, revision=2), lift_hold=False)
    assert not await storage.delete_subscription(999)


async def test_lists_are_by_id_and_of_the_versions_asked_for(storage: Storage) -> None:
    await populate(storage, {101: [], 102: []})
    for number, version in enumerate(
        (PayloadVersion.RAW, PayloadVersion.V2, PayloadVersion.STANDARD, PayloadVersion.V1)
    ):
        await create(storage, a_subscription(1010 - number, payload_version=version))
    await create(storage, a_subscription(1001, company_id=102))
    assert await ids(storage, SubscriptionQuery(company_id=101, versions=VERSION_1)) == [1007, 1008, 1010]
    assert await ids(storage, SubscriptionQuery(company_id=101, versions=(PayloadVersion.V2,))) == [1009]
    assert await ids(storage, SubscriptionQuery(company_id=None, versions=EVERY_VERSION)) == [
        1001,
        1007,
        1008,
        1009,
        1010,
    ]
    assert await ids(storage, SubscriptionQuery(company_id=103, versions=EVERY_VERSION)) == []


async def test_pages_of_a_list_join_without_gap_or_overlap(storage: Storage) -> None:
    await populate(storage, {101: range(1001, 1008)})
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = await storage.subscriptions(
            SubscriptionQuery(company_id=None, versions=EVERY_VERSION, after_id=after, limit=3)
        )
        seen += [subscription.id for subscription in page.items]
        after = page.next_after_id
    assert seen == list(range(1001, 1008))
    exact = await storage.subscriptions(SubscriptionQuery(company_id=None, versions=EVERY_VERSION, limit=7))
    assert exact.next_after_id is None


async def test_the_built_in_company_owns_subscriptions_as_others_do(storage: Storage) -> None:
    await create(storage, a_subscription(1001, company_id=1))
    assert await ids(storage, SubscriptionQuery(company_id=1, versions=EVERY_VERSION)) == [1001]
    assert [route.subscription_id for route in (await storage.routes([1]))[1].routes] == [1001]


async def test_ids_may_be_as_large_as_promised(storage: Storage) -> None:
    largest = 2**31 - 1
    await storage.create_company(a_company(largest))
    await create(storage, a_subscription(largest, largest))
    assert (await storage.routes([largest]))[largest].routes[0].subscription_id == largest


async def test_an_id_out_of_range_is_simply_not_there(storage: Storage) -> None:
    for absent in (0, 2**31, 2**53 - 1):
        assert await storage.subscription(absent) is None
        assert await storage.company(absent) is None
        assert await storage.delivery(1001, absent) is None
        assert await storage.delivery(absent, 1) is None
        assert not await storage.delete_subscription(absent)
        assert not await storage.revoke_token(None, absent)
