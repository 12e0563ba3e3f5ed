"""What was promised, and when: each acknowledgement with the position of the recording that it came after."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from hookline.lifecycle import GiveUp, Succeed
from hookline.model import Subscription
from hookline.storage.claims import Claim, Settlement
from hookline.storage.protocol import Storage
from hookline.storage.publications import Publication, Published, PublishResult
from powercut.recording import Recording


class EventPromised(Struct, frozen=True):
    """A publish was answered: the event stands with its deliveries."""

    event_id: str


class KeyPromised(Struct, frozen=True):
    """A publish under a header key was answered: the same key gets the same answer."""

    key: str


class AttemptPromised(Struct, frozen=True):
    """A claim was answered: no later claim may give out the same number again."""

    delivery_id: int
    attempt: int


class EndPromised(Struct, frozen=True):
    """A settlement was answered: its line stands in the log, and where it ended the delivery, the end stands."""

    delivery_id: int
    attempt: int
    state: str | None


class SubscriptionPromised(Struct, frozen=True):
    """A subscription was stored or changed."""

    subscription_id: int
    revision: int


class DeletionPromised(Struct, frozen=True):
    """A subscription was deleted."""

    subscription_id: int


Promise = EventPromised | KeyPromised | AttemptPromised | EndPromised | SubscriptionPromised | DeletionPromised


class Ledger:
    """The promises in their order, and which events were published together."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.promises: list[tuple[int, Promise]] = []
        self.publications: list[tuple[str, ...]] = []
        """Events that share a fate: each request's new ones."""
        self._published: set[str] = set()

    def note_publication(self, event_ids: Iterable[str]) -> None:
        """Take down which of these events came into being together."""
        new = tuple(event_id for event_id in event_ids if event_id not in self._published)
        self._published.update(new)
        self.publications.append(new)

    def note(self, promise: Promise) -> None:
        """Take down that somebody was just told."""
        self.promises.append((self._recording.position, promise))


class Witnessed:
    """The storage, with each answer of it taken down."""

    def __init__(self, storage: Storage, ledger: Ledger) -> None:
        self._storage = storage
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def publish(self, publication: Publication) -> PublishResult:
        result = await self._storage.publish(publication)
        if isinstance(result, Published):
            self._ledger.note_publication(event.id for event in result.events)
            for event in result.events:
                self._ledger.note(EventPromised(event.id))
            if publication.key:
                self._ledger.note(KeyPromised(publication.key.key))
        return result

    async def claim_due(self, **asked: Any) -> Claim:
        claim = await self._storage.claim_due(**asked)
        for claimed in claim.deliveries:
            self._ledger.note(AttemptPromised(claimed.id, claimed.attempt))
        return claim

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        answers = await self._storage.settle(settlements)
        for settlement, is_settled in zip(settlements, answers, strict=True):
            if is_settled:
                self._ledger.note(_end_of(settlement))
        return answers

    async def replace_subscription(self, subscription: Subscription, *, lift_hold: bool) -> bool:
        is_replaced = await self._storage.replace_subscription(subscription, lift_hold=lift_hold)
        if is_replaced:
            self._ledger.note(SubscriptionPromised(subscription.id, subscription.revision))
        return is_replaced

    async def delete_subscription(self, subscription_id: int) -> bool:
        is_deleted = await self._storage.delete_subscription(subscription_id)
        if is_deleted:
            self._ledger.note(DeletionPromised(subscription_id))
        return is_deleted


def _end_of(settlement: Settlement) -> EndPromised:
    states: Mapping[type, str] = {Succeed: "succeeded", GiveUp: "dead"}
    fence = settlement.fence
    return EndPromised(fence.delivery_id, fence.attempt, states.get(type(settlement.verdict)))
