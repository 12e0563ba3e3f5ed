"""Old secrets sign until their end and not after it; which one keys the hub signature is the asker's choice."""

import hashlib
import hmac
from itertools import count
from typing import Any

import pytest
from msgspec import structs

from hookline import credentials
from hookline.dispatch import Targets
from hookline.egress.sender import Call
from hookline.egress.url import UrlRules
from hookline.errors import Conflict
from hookline.model import PayloadVersion, Policies, Secret, Subscription
from hookline.rotation import OVERLAP_SECONDS, SECRETS_MAX, RotationRequest, rotated
from hookline.sealing import Keyring
from hookline.signing import Signer, new_secret
from hookline.storage.claims import Claimed

KEYRING = Keyring([bytes(range(32))])
NOW = 1_767_268_800_000
HOUR = 3_600_000
BODY = b"{}"
FIRST = new_secret(bytes(32))


def a_subscription() -> Subscription:
    return Subscription(
        id=7,
        company_id=3,
        revision=1,
        callback_url="https://api.example.com/in",
        event_types=None,
        payload_version=PayloadVersion.RAW,
        policies=Policies(),
        secrets=(Secret(sealed=credentials.seal_secret(7, FIRST, KEYRING), created_at=NOW),),
        created_at=NOW,
        updated_at=NOW,
    )


_fillings = count(1)


def rotate(subscription: Subscription, now: int = NOW, **said: Any) -> tuple[Subscription, str]:
    filling = next(_fillings)
    return rotated(
        subscription, RotationRequest(**said), KEYRING, random_bytes=lambda size: bytes([filling]) * size, now=now
    )


class Attempts:
    """One node's attempts to a subscription, made from the target it keeps."""

    def __init__(self, subscription: Subscription) -> None:
        self._targets = Targets(keyring=KEYRING, rules=UrlRules(), retry_delays_seconds=(10,), timeout_seconds_max=30)
        self._targets.learn({subscription.id: subscription})

    def at(self, now: int) -> dict[str, str]:
        delivery = Claimed(
            losses=0,
            id=1,
            attempt=1,
            failures=0,
            subscription_id=7,
            subscription_revision=1,
            company_id=3,
            host="api.example.com:443",
            event_id="evt_1",
            event_type="note.created",
            type_name="note.created",
            payload_version=PayloadVersion.RAW,
            source=None,
            occurred_at=NOW,
            accepted_at=NOW,
            data=BODY,
        )
        call = self._targets.of(delivery).call(delivery, now)
        assert isinstance(call, Call)
        return dict(call.headers)


def signed_by(headers: dict[str, str], *secrets: str) -> bool:
    """Whether `webhook-signature` is of exactly these, in this order."""
    signer = Signer(list(secrets))
    expected = signer.standard_signature("evt_1", int(headers["webhook-timestamp"]), BODY)
    return headers["webhook-signature"] == expected


def hub_is_of(headers: dict[str, str], secret: str) -> bool:
    by_hand = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    return headers["X-Hub-Signature-256"] == f"sha256={by_hand}"


def test_the_old_secret_signs_until_the_overlap_ends_without_a_new_revision() -> None:
    changed, new = rotate(a_subscription(), overlap_seconds=3600)
    attempts = Attempts(changed)
    for now in (NOW, NOW + HOUR - 1):
        assert signed_by(attempts.at(now), new, FIRST)
    for now in (NOW + HOUR, NOW + 9 * HOUR):
        assert signed_by(attempts.at(now), new)


def test_a_rotation_overlaps_for_a_day_and_switches_the_hub_signature_at_once() -> None:
    changed, new = rotate(a_subscription())
    attempts = Attempts(changed)
    assert hub_is_of(attempts.at(NOW), new)
    assert signed_by(attempts.at(NOW + OVERLAP_SECONDS * 1000 - 1), new, FIRST)
    assert signed_by(attempts.at(NOW + OVERLAP_SECONDS * 1000), new)
    assert OVERLAP_SECONDS == 86_400


def test_the_hub_signature_stays_with_the_old_secret_until_the_overlap_ends() -> None:
    changed, new = rotate(a_subscription(), overlap_seconds=3600, hub_signature="old")
    attempts = Attempts(changed)
    assert hub_is_of(attempts.at(NOW), FIRST)
    assert hub_is_of(attempts.at(NOW + HOUR - 1), FIRST)
    assert hub_is_of(attempts.at(NOW + HOUR), new)


def test_each_of_two_rotations_keeps_its_own_overlap() -> None:
    first, second_secret = rotate(a_subscription(), overlap_seconds=7200, hub_signature="old")
    both, third_secret = rotate(first, NOW + 1, overlap_seconds=3600, hub_signature="old")
    attempts = Attempts(both)
    assert signed_by(attempts.at(NOW + 1), third_secret, second_secret, FIRST)
    assert hub_is_of(attempts.at(NOW + 1), FIRST)
    assert signed_by(attempts.at(NOW + 1 + HOUR), third_secret, FIRST)
    assert hub_is_of(attempts.at(NOW + 1 + HOUR), third_secret)
    assert signed_by(attempts.at(NOW + 2 * HOUR), third_secret)


def test_a_rotation_that_switches_at_once_overrules_one_that_waits() -> None:
    waiting, _ = rotate(a_subscription(), hub_signature="old")
    changed, new = rotate(waiting, hub_signature="new")
    assert hub_is_of(Attempts(changed).at(NOW), new)


def test_without_overlap_the_old_secret_is_gone_at_once() -> None:
    changed, new = rotate(a_subscription(), overlap_seconds=0, hub_signature="old")
    assert len(changed.secrets) == 1
    headers = Attempts(changed).at(NOW)
    assert signed_by(headers, new)
    assert hub_is_of(headers, new)


def test_a_sixth_live_secret_is_refused_with_the_time_when_there_is_room() -> None:
    subscription, shown = a_subscription(), [FIRST]
    for number in range(SECRETS_MAX - 1):
        subscription, secret = rotate(subscription, NOW + number, overlap_seconds=3600)
        shown.insert(0, secret)
    assert signed_by(Attempts(subscription).at(NOW + 10), *shown)
    with pytest.raises(Conflict, match=r"5 live secrets.* expires at 2026-01-01T13:00:00.000Z"):
        rotate(subscription, NOW + 10, overlap_seconds=3600)
    replaced, new = rotate(subscription, NOW + 10, overlap_seconds=0)
    assert signed_by(Attempts(replaced).at(NOW + 10), new, *shown[1:])
    later, new = rotate(subscription, NOW + HOUR, overlap_seconds=3600)
    assert signed_by(Attempts(later).at(NOW + HOUR), new, *shown[:-1])


def test_a_rotation_raises_the_revision_and_drops_what_has_expired() -> None:
    changed, _ = rotate(a_subscription(), overlap_seconds=60)
    assert (changed.revision, changed.updated_at) == (2, NOW)
    again, _ = rotate(changed, NOW + 60_000, overlap_seconds=60)
    assert len(again.secrets) == 2
    assert structs.replace(again, secrets=(), revision=1) == structs.replace(
        a_subscription(), secrets=(), updated_at=NOW + 60_000
    )
