"""What an attempt should be signed with: every live secret, none before its time and none after its end."""

import base64
import hmac
from collections.abc import Sequence
from typing import NamedTuple


class Key(NamedTuple):
    """A secret as it was shown, and its time."""

    text: str
    expires_at: int | None = None
    hub_from: int | None = None
    """When it takes over `X-Hub-Signature-256`; None: as soon as it is there."""


class Rotation(NamedTuple):
    """What somebody asked for, and the clock of the node that did it."""

    text: str
    overlap_ms: int
    hub: str | None
    wall: int


def rotated(keys: Sequence[Key], rotation: Rotation) -> tuple[Key, ...]:
    """Return the keys after a rotation, newest first."""
    ends_at = rotation.wall + rotation.overlap_ms
    new = Key(rotation.text, hub_from=ends_at if rotation.hub == "old" else None)
    before = [keys[0]._replace(expires_at=ends_at), *keys[1:]]
    return (new, *[key for key in before if _is_live(key, rotation.wall)])


def signed_as(keys: Sequence[Key], wall: int, event_id: str, body: bytes) -> tuple[str, str]:
    """Return what `X-Hub-Signature-256` and `webhook-signature` should be at this moment of the node's clock."""
    live = [key for key in keys if _is_live(key, wall)]
    hub = next((key for key in live if (key.hub_from or 0) <= wall), live[0])
    digest = hmac.digest(hub.text.encode(), body, "sha256").hex()
    signed = b"%b.%d.%b" % (event_id.encode(), wall // 1000, body)
    return f"sha256={digest}", " ".join(_standard(key.text, signed) for key in live)


def _is_live(key: Key, wall: int) -> bool:
    return key.expires_at is None or wall < key.expires_at


def _standard(text: str, signed: bytes) -> str:
    key = base64.b64decode(text.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
