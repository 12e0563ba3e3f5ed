"""A new signing secret for a subscription, and how long those before it go on signing. No I/O.

For the overlap every live secret signs in `webhook-signature`, which holds several; `X-Hub-Signature-256` holds one, so
whoever asks decides when it changes: at once, or as the overlap ends.
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, structs

from hookline import credentials, signing
from hookline.clock import rfc3339
from hookline.errors import Conflict
from hookline.model import Secret, Subscription
from hookline.sealing import Keyring

OVERLAP_SECONDS: Final = 86_400
OVERLAP_SECONDS_MAX: Final = 604_800
SECRETS_MAX: Final = 5
"""Live at once: each is one more signature on every attempt."""


class RotationRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a rotation may say; null as absent."""

    overlap_seconds: Annotated[int, Meta(ge=0, le=OVERLAP_SECONDS_MAX)] | None = None
    hub_signature: Literal["new", "old"] | None = None


def rotated(
    subscription: Subscription,
    request: RotationRequest,
    keyring: Keyring,
    *,
    random_bytes: Callable[[int], bytes],
    now: int,
) -> tuple[Subscription, str]:
    """Return the subscription with a new secret, its revision raised, and that secret as it is shown once.

    Raises `Conflict` where too many are live.
    """
    overlap_seconds = OVERLAP_SECONDS if request.overlap_seconds is None else request.overlap_seconds
    switch_at = now + overlap_seconds * 1000
    current, *earlier = subscription.secrets
    going = [structs.replace(current, expires_at=switch_at), *earlier]
    live = [secret for secret in going if signing.is_live(secret, now)]
    if len(live) >= SECRETS_MAX:
        raise _too_many(live)
    shown = signing.new_secret(random_bytes(signing.SECRET_BYTES))
    new = Secret(
        sealed=credentials.seal_secret(subscription.id, shown, keyring),
        created_at=now,
        hub_from=switch_at if request.hub_signature == "old" else None,
    )
    changed = structs.replace(subscription, secrets=(new, *live), revision=subscription.revision + 1, updated_at=now)
    return changed, shown


def _too_many(live: list[Secret]) -> Conflict:
    """Say when the next secret ends; the current one has no end before this rotation gives it one."""
    ends = min(secret.expires_at for secret in live[1:] if secret.expires_at is not None)
    return Conflict(
        f"The subscription has {SECRETS_MAX} live secrets, as many as it may; the oldest expires at {rfc3339(ends)}. "
        'Rotate after that, or with {"overlapSeconds": 0}, which ends the current secret at once.'
    )
