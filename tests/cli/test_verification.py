import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from hookline.cli.verification import Check, is_secret, verify

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()
BODY = b'{"eventType":"note.created","amount":1.10}'
NOW = 1_795_000_000


def signed(body: bytes = BODY, secret: str = SECRET, timestamp: int = NOW) -> dict[str, str]:
    """Sign with code that is not ours."""
    moment = datetime.fromtimestamp(timestamp, UTC)
    return {
        "x-hub-signature-256": "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex(),
        "webhook-id": "evt_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": Webhook(secret).sign("evt_1", moment, body.decode()),
    }


def test_genuine_request_passes_both_checks() -> None:
    assert verify(SECRET, signed(), BODY, NOW).are_valid


def test_one_good_signature_among_several_of_a_rotation_is_enough() -> None:
    old, new = signed(secret=OTHER), signed()
    headers = {**new, "webhook-signature": f"{old['webhook-signature']} {new['webhook-signature']}"}

    assert verify(SECRET, headers, BODY, NOW).standard is Check.VALID


@pytest.mark.parametrize(
    ("headers", "body", "hub", "standard"),
    [
        (signed(), BODY + b" ", Check.WRONG, Check.WRONG),
        (signed(secret=OTHER), BODY, Check.WRONG, Check.WRONG),
        ({**signed(), "webhook-id": "evt_2"}, BODY, Check.VALID, Check.WRONG),
        ({**signed(), "webhook-timestamp": str(NOW + 1)}, BODY, Check.VALID, Check.WRONG),
        (signed(timestamp=NOW - 301), BODY, Check.VALID, Check.STALE),
        (signed(timestamp=NOW + 301), BODY, Check.VALID, Check.STALE),
        ({**signed(), "webhook-timestamp": "soon"}, BODY, Check.VALID, Check.STALE),
        ({**signed(), "webhook-timestamp": "²"}, BODY, Check.VALID, Check.STALE),
        ({**signed(), "webhook-timestamp": "1" * 5000}, BODY, Check.VALID, Check.STALE),
        ({}, BODY, Check.MISSING, Check.MISSING),
    ],
)
def test_anything_else_fails_and_says_how(headers: dict[str, str], body: bytes, hub: Check, standard: Check) -> None:
    assert verify(SECRET, headers, body, NOW) == (hub, standard)


def test_without_a_secret_nothing_is_claimed() -> None:
    checks = verify(None, signed(), BODY, NOW)

    assert checks == (Check.UNCHECKED, Check.UNCHECKED)
    assert not checks.are_valid


@pytest.mark.parametrize(
    ("text", "expected"), [(SECRET, True), ("whsec_", False), ("whsec_%%%%", False), ("secret", False), ("", False)]
)
def test_secret_is_told_from_a_typo(text: str, *, expected: bool) -> None:
    assert is_secret(text) is expected
