"""After a rotation of the key the first one opens everything, whatever was interrupted or changed meanwhile."""

from collections.abc import Sequence
from typing import cast

import pytest
from msgspec import structs
from storage_samples import a_subscription, create, populate

from hookline import credentials
from hookline.model import AuthType, PayloadVersion, Secret, Subscription
from hookline.resealing import PAGE, Resealed, reseal
from hookline.sealing import Keyring, Unsealable
from hookline.storage.protocol import Storage
from hookline.storage.views import SubscriptionQuery

pytestmark = pytest.mark.anyio

OLD, NEW = b"o" * 32, b"n" * 32


async def sealed_with(storage: Storage, subscription_id: int, keyring: Keyring) -> Subscription:
    """A subscription of company 101 with each kind of thing that is sealed, two secrets among them."""
    full = a_subscription(
        subscription_id,
        secrets=tuple(
            Secret(sealed=credentials.seal_secret(subscription_id, each, keyring), created_at=1, expires_at=end)
            for each, end in (("whsec_AAAA", None), ("whsec_BBBB", 99))
        ),
        auth_type=AuthType.BEARER,
        auth_sealed=credentials.seal_auth(subscription_id, {"token": "t"}, keyring),
        headers_sealed=credentials.seal_headers(subscription_id, {"X-Zone": "eu"}, keyring),
        trust_sealed=credentials.seal_trust(subscription_id, credentials.Trust(authorities="PEM"), keyring),
    )
    await create(storage, full)
    return full


async def all_of(storage: Storage) -> Sequence[Subscription]:
    return (await storage.subscriptions(SubscriptionQuery(company_id=None, versions=tuple(PayloadVersion)))).items


def opened(subscription: Subscription, keyring: Keyring) -> tuple[object, ...]:
    return (
        credentials.open_secrets(subscription, keyring),
        credentials.open_auth(subscription, keyring),
        credentials.open_headers(subscription, keyring),
        credentials.open_trust(subscription, keyring),
    )


async def test_first_key_alone_opens_everything_afterwards(storage: Storage) -> None:
    await populate(storage, {101: []})
    before = [await sealed_with(storage, number, Keyring([OLD])) for number in range(3, 6)]
    with pytest.raises(Unsealable):
        opened(before[0], Keyring([NEW]))

    assert await reseal(storage, Keyring([NEW, OLD])) == Resealed(sealed=3, current=0, closed=())
    after = await all_of(storage)
    assert {each.id: opened(each, Keyring([NEW])) for each in after} == {
        each.id: opened(each, Keyring([OLD])) for each in before
    }
    assert [each.secrets[1].expires_at for each in after] == [99] * 3
    assert await reseal(storage, Keyring([NEW, OLD])) == Resealed(sealed=0, current=3, closed=())


async def test_what_no_key_opens_stays_and_is_told_and_stops_nothing(storage: Storage) -> None:
    await populate(storage, {101: []})
    closed = await sealed_with(storage, 1001, Keyring([b"x" * 32]))
    await sealed_with(storage, 1002, Keyring([OLD]))

    assert await reseal(storage, Keyring([NEW, OLD])) == Resealed(sealed=1, current=0, closed=(closed.id,))
    assert opened(closed, Keyring([b"x" * 32]))


async def test_what_is_damaged_stays_and_is_told_and_stops_nothing(storage: Storage) -> None:
    await populate(storage, {101: []})
    for number in (1001, 1002):
        await sealed_with(storage, number, Keyring([OLD]))

    done = await reseal(cast("Storage", Damaging(storage, 1001)), Keyring([NEW, OLD]))
    assert done == Resealed(sealed=1, current=0, closed=(), damaged=(1001,))


class Damaging:
    """A storage that cannot read one subscription of its pages."""

    def __init__(self, storage: Storage, broken: int) -> None:
        self._storage = storage
        self._broken = broken

    async def subscriptions(self, query: SubscriptionQuery) -> object:
        page = await self._storage.subscriptions(query)
        items = tuple(each for each in page.items if each.id != self._broken)
        return structs.replace(page, items=items, unreadable=(self._broken,))

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)


async def test_more_than_one_page_is_walked(storage: Storage) -> None:
    await populate(storage, {101: range(1001, 1001 + PAGE + 1)})
    seen: list[int] = []

    done = await reseal(storage, Keyring([NEW, OLD]), seen.append)
    assert done.sealed + done.current + len(done.closed) == PAGE + 1
    assert seen == [PAGE, PAGE + 1]


class Meddler:
    """A storage in which somebody changes each subscription between the page that is read and what follows of it."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.is_at_it = True

    async def subscriptions(self, query: SubscriptionQuery) -> object:
        page = await self._storage.subscriptions(query)
        for each in page.items:
            changed = structs.replace(each, callback_url="https://b.example.com/", revision=each.revision + 1)
            assert await self._storage.replace_subscription(changed, lift_hold=False)
        return page

    def __getattr__(self, name: str) -> object:
        return getattr(self._storage, name)


async def test_change_made_at_the_same_moment_is_kept(storage: Storage) -> None:
    await populate(storage, {101: []})
    await sealed_with(storage, 1002, Keyring([OLD]))

    done = await reseal(cast("Storage", Meddler(storage)), Keyring([NEW, OLD]))
    (after,) = await all_of(storage)
    assert done.sealed == 1
    assert after.callback_url == "https://b.example.com/"
    assert opened(after, Keyring([NEW]))


async def test_deleted_subscription_needs_no_key(storage: Storage) -> None:
    await populate(storage, {101: []})
    gone = await sealed_with(storage, 1001, Keyring([b"x" * 32]))
    await storage.delete_subscription(gone.id)

    assert await reseal(storage, Keyring([NEW])) == Resealed(sealed=0, current=0, closed=())


def test_nothing_that_is_sealed_is_left_out() -> None:
    """What is sealed newly has to be sealed again too: by `credentials.resealed`, and in `sealed_with` above."""
    assert {name for name in vars(credentials) if name.startswith("seal_")} == {
        "seal_secret",
        "seal_headers",
        "seal_auth",
        "seal_trust",
    }
