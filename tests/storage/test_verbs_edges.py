"""What the log promises of a hold, and text and numbers that no row can hold: they find nothing and break nothing."""

import pytest
from msgspec.structs import replace
from storage_samples import (
    LEASE_MS,
    NOON_MS,
    HandClock,
    a_company,
    a_publication,
    a_subscription,
    an_event,
    attempt,
    claim,
    claim_one,
    delivery_of,
    log_of,
    populate,
    publish,
    published,
    settle,
)

from hookline.lifecycle import Retry
from hookline.model import PayloadVersion, Recipient, Role, Token
from hookline.storage.protocol import CompanyDeletion, Creation, Storage
from hookline.storage.publications import Stale
from hookline.storage.views import AttemptQuery, EventQuery, SubscriptionQuery

pytestmark = pytest.mark.anyio

# --- holds -----------------------------------------------------------------------------------------------------------


async def test_a_retry_is_not_announced_before_the_end_of_the_hold_it_brought(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    assert await settle(storage, await claim_one(storage), Retry(1_000), hold_ms=60_000)
    (row,) = await log_of(storage)
    assert row.next_attempt_at == clock.now + 60_000


async def test_a_retry_is_not_announced_before_the_end_of_a_hold_that_stands(
    storage: Storage, clock: HandClock
) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await publish(storage)
    first, second = (await claim(storage)).deliveries
    assert await settle(storage, first, Retry(1_000), hold_ms=60_000)
    clock.now += 10_000
    assert await settle(storage, second, Retry(1_000))
    assert [row.next_attempt_at for row in await log_of(storage)] == [NOON_MS + 60_000, NOON_MS + 60_000]


async def test_an_announced_retry_is_of_the_wall_clock_however_far_the_schedule_is(
    storage: Storage, clock: HandClock
) -> None:
    clock.skew_ms = -5_000
    await populate(storage, {101: [1001]})
    await publish(storage)
    assert await settle(storage, await claim_one(storage), Retry(1_000), hold_ms=60_000)
    (row,) = await log_of(storage)
    assert row.next_attempt_at == clock.wall_ms() + 60_000


async def test_what_waits_for_a_hold_is_shown_as_due_at_its_end(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    claimed = await claim_one(storage)
    assert await settle(storage, claimed, Retry(1_000), hold_ms=60_000)
    assert (await delivery_of(storage, claimed)).due_at == clock.now + 60_000
    clock.now += 60_000
    claimed = await claim_one(storage)
    assert (await delivery_of(storage, claimed)).due_at == clock.now + LEASE_MS


async def test_a_loss_is_not_announced_before_the_end_of_a_hold(storage: Storage, clock: HandClock) -> None:
    await populate(storage, {101: [1001]})
    await publish(storage)
    await publish(storage)
    first, _ = (await claim(storage)).deliveries
    assert await settle(storage, first, Retry(1_000), hold_ms=2 * LEASE_MS)
    clock.now += LEASE_MS
    assert (await claim(storage)).lost == 1
    assert [row.next_attempt_at for row in await log_of(storage)] == [NOON_MS + 2 * LEASE_MS] * 2


# --- what no row can hold --------------------------------------------------------------------------------------------


async def test_text_that_no_row_can_hold_finds_nothing(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    await attempt(storage)
    for absent in ("\0", "note.created\0", "note\0.created"):
        assert await storage.events(EventQuery(limit=10, event_type=absent)) == ()
        assert await storage.events(EventQuery(limit=10, event_type=absent, company_id=101)) == ()
        assert await storage.event(absent, company_id=None, after_id=0, limit=10, attempts_max=1) is None
        query = AttemptQuery(subscription_id=1001, page=0, size=10, type_name=absent)
        page = await storage.page_of_attempts(query)
        assert (page.rows, page.total) == ((), 0)
        assert not await storage.delete_event_type(absent)


async def test_ids_and_instants_out_of_range_find_nothing(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    await published(storage)
    await attempt(storage)
    for absent in (0, 2**31, 2**53 - 1):
        assert await storage.events(EventQuery(limit=10, company_id=absent)) == ()
        assert await storage.routes([absent, 101]) == await storage.routes([101])
        page = await storage.page_of_attempts(AttemptQuery(subscription_id=absent, page=0, size=10))
        assert (page.rows, page.total) == ((), 0)
        assert (await storage.tokens(absent, 0, 10)).items == ()
        assert not await storage.has_fresh_claims(absent, 1_000)
    latest = 253_402_300_799_999
    """9999-12-31T23:59:59.999Z."""
    page = await storage.page_of_attempts(AttemptQuery(subscription_id=1001, page=0, size=10, from_at=latest))
    assert (page.rows, page.total) == ((), 0)
    page = await storage.page_of_attempts(AttemptQuery(subscription_id=1001, page=0, size=10, from_at=0, to_at=latest))
    assert page.total == 1
    assert await storage.events(EventQuery(limit=10, from_at=latest)) == ()
    assert len(await storage.events(EventQuery(limit=10, from_at=0, to_at=latest, before_key=2**53 - 1))) == 1
    page = await storage.page_of_attempts(AttemptQuery(subscription_id=1001, page=2**31 - 1, size=200))
    assert (page.rows, page.total) == ((), 1)
    after = await storage.event("evt_none", company_id=2**53 - 1, after_id=2**53 - 1, limit=10, attempts_max=1)
    assert after is None


async def test_a_company_out_of_range_is_one_that_is_missing(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    for absent in (0, 2**31, 2**53 - 1):
        assert await storage.create_subscription(a_subscription(1002, absent), 10) is Creation.NO_COMPANY
        assert not await storage.replace_company(a_company(absent), a_company(absent))
        for cascade in (False, True):
            assert await storage.delete_company(absent, cascade=cascade) is CompanyDeletion.NOT_FOUND
        token = Token(id=5001, company_id=absent, name="n", role=Role.MEMBER, hash=bytes(32), created_at=NOON_MS)
        assert await storage.create_token(token) is Creation.NO_COMPANY
        assert not await storage.revoke_token(absent, 5001)
        event = replace(
            await an_event(storage, {101: [1001]}), recipients=(Recipient(company_id=absent, company_revision=1),)
        )
        result = await storage.publish(await a_publication(storage, event))
        assert result == Stale(catalogue=False, company_ids=(absent,))


async def test_a_subscription_out_of_range_is_one_that_is_missing(storage: Storage) -> None:
    await populate(storage, {101: [1001]})
    for absent in (0, 2**31, 2**53 - 1):
        changed = a_subscription(absent, revision=2)
        assert not await storage.replace_subscription(changed, lift_hold=False)
        page = await storage.subscriptions(
            SubscriptionQuery(company_id=None, versions=(PayloadVersion.V1,), after_id=absent, limit=10)
        )
        assert [subscription.id for subscription in page.items] == ([1001] if absent == 0 else [])
        for company_id in (absent, 101):
            query = SubscriptionQuery(company_id=company_id, versions=(PayloadVersion.V1,), after_id=2**31)
            assert (await storage.subscriptions(query)).items == ()
        assert (await storage.companies(2**53 - 1, 10)).items == ()
        assert (await storage.tokens(101, 2**53 - 1, 10)).items == ()
