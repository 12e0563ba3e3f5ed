"""Whether a delivery's two signatures are right, seen from the receiver's side.

Written from the contract and the Standard Webhooks specification alone, sharing nothing with what signs: a check that
borrowed the signer's code would agree with its mistakes.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

TOLERANCE_SECONDS: Final = 300
"""How old or early a timestamp may be; what the Standard Webhooks libraries use."""
DIGITS_MAX: Final = 12
"""A timestamp longer than this is none, and need not become a number first."""
PREFIX: Final = "whsec_"


class Check(StrEnum):
    """What became of one signature."""

    VALID = "valid"
    WRONG = "wrong"
    MISSING = "missing"
    STALE = "stale"
    UNCHECKED = "unchecked"


class Checks(NamedTuple):
    """Both signatures of one request."""

    hub: Check
    standard: Check

    @property
    def are_valid(self) -> bool:
        """Whether the request is proven to come from whoever holds the secret."""
        return self.hub is Check.VALID and self.standard is Check.VALID


def verify(secret: str | None, headers: Mapping[str, str], body: bytes, now_seconds: int) -> Checks:
    """Check `X-Hub-Signature-256` and `webhook-signature`; header names are lower case."""
    if secret is None:
        return Checks(Check.UNCHECKED, Check.UNCHECKED)
    return Checks(_hub(secret, headers, body), _standard(secret, headers, body, now_seconds))


def is_secret(text: str) -> bool:
    """Tell whether this is a secret as Hookline shows them: `whsec_` and base64."""
    try:
        return text.startswith(PREFIX) and len(base64.b64decode(text.removeprefix(PREFIX), validate=True)) > 0
    except ValueError:
        return False


def _hub(secret: str, headers: Mapping[str, str], body: bytes) -> Check:
    shown = headers.get("x-hub-signature-256")
    if shown is None:
        return Check.MISSING
    wanted = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return _compared(shown, wanted)


def _standard(secret: str, headers: Mapping[str, str], body: bytes, now_seconds: int) -> Check:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    event_id, timestamp, signatures = (headers.get(name) for name in names)
    if event_id is None or timestamp is None or signatures is None:
        return Check.MISSING
    if _seconds_between(timestamp, now_seconds) > TOLERANCE_SECONDS:
        return Check.STALE
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(digest).decode()
    found = [_compared(shown, wanted) is Check.VALID for shown in signatures.split()]
    return Check.VALID if any(found) else Check.WRONG


def _seconds_between(timestamp: str, now_seconds: int) -> float:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= DIGITS_MAX):
        return float("inf")
    return abs(now_seconds - int(timestamp))


def _compared(shown: str, wanted: str) -> Check:
    return Check.VALID if hmac.compare_digest(shown.encode(), wanted.encode()) else Check.WRONG
