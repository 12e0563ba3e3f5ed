"""What tokens and ids look like. Pure: randomness is an argument.

A token reads `hkl_op_` (by role), 43 characters of base64url (256 random bits) and 6 of a checksum, so that a scanner
finds a leaked one and a typo costs no database. Only its hash is ever stored.
"""

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final
from zlib import crc32

from hookline.model import Role

PREFIXES: Final = {
    Role.OPERATOR: "hkl_op_",
    Role.PUBLISHER: "hkl_pub_",
    Role.MEMBER: "hkl_mem_",
    Role.VIEWER: "hkl_view_",
}
SECRET_PREFIX: Final = "hkl_secret_"  # noqa: S105 - of those that are made
CLIENT_PREFIX: Final = "client_"
TOKEN_BYTES: Final = 32
_CHECKED: Final = re.compile(r"(hkl_(?:op|pub|mem|view)_[A-Za-z0-9_-]{43})([A-Za-z0-9_-]{6})", re.ASCII)

ID_MIN: Final = 2
"""1 is the built-in company `operator`."""
ID_MAX: Final = 2**31 - 1

_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_EVENT_RANDOM_BYTES: Final = 10
_EVENT_CHARACTERS: Final = 26


def new_token(role: Role, random_bytes: Callable[[int], bytes]) -> str:
    """Return a token as it is shown, once."""
    unchecked = PREFIXES[role] + _base64url(random_bytes(TOKEN_BYTES))
    return unchecked + _checksum(unchecked)


def new_client_secret(random_bytes: Callable[[int], bytes]) -> str:
    """Return an account's client secret as it is shown, once. Needs no encoding, neither in a form nor in Basic."""
    unchecked = SECRET_PREFIX + _base64url(random_bytes(TOKEN_BYTES))
    return unchecked + _checksum(unchecked)


def client_id_of(account_id: int) -> str:
    """Return the client id of an account."""
    return f"{CLIENT_PREFIX}{account_id}"


def account_of(client_id: str) -> int | None:
    """Return the account that a client id names, None where it can be none's."""
    digits = client_id.removeprefix(CLIENT_PREFIX)
    is_one = digits.isascii() and digits.isdigit() and len(digits) <= 10 and client_id == client_id_of(int(digits))
    return int(digits) if is_one and int(digits) <= ID_MAX else None


def is_well_formed(token: str) -> bool:
    """Tell whether `new_token` could have made this: what is not need not be looked up. Proves nothing else."""
    found = _CHECKED.fullmatch(token)
    return found is not None and _checksum(found[1]) == found[2]


def hash_of(token: str) -> bytes:
    """Return what is stored of a token: SHA-256. It needs no salt and no stretching, as 256 bits cannot be guessed."""
    return sha256(token.encode()).digest()


def new_id(random_bytes: Callable[[int], bytes]) -> int:
    """Return an id for a company, a subscription or a token, in `ID_MIN` to `ID_MAX` and not to be guessed in sequence.

    It may be taken: whoever stores it asks again.
    """
    while True:
        number = int.from_bytes(random_bytes(4), "big") & ID_MAX
        if number >= ID_MIN:
            return number


def new_event_id(wall_ms: int, random_bytes: Callable[[int], bytes]) -> str:
    """Return `evt_` and 26 characters of base32: 48 bits of time and 80 random ones, so later ids sort behind."""
    number = (wall_ms << 8 * _EVENT_RANDOM_BYTES) | int.from_bytes(random_bytes(_EVENT_RANDOM_BYTES), "big")
    shifts = range(5 * (_EVENT_CHARACTERS - 1), -1, -5)
    return "evt_" + "".join([_CROCKFORD[number >> shift & 31] for shift in shifts])


def _checksum(text: str) -> str:
    return _base64url(crc32(text.encode()).to_bytes(4, "big"))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
