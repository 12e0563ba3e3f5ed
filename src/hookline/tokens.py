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
PASS_PREFIX: Final = "hkl_pass_"  # noqa: S105 - of those that are made
LINK_PREFIX: Final = "hkl_link_"
TOKEN_BYTES: Final = 32
_CHECKED: Final = re.compile(r"(hkl_(?:op|pub|mem|view|pass)_[A-Za-z0-9_-]{43})([A-Za-z0-9_-]{6})", re.ASCII)
_LINK: Final = re.compile(r"(hkl_link_[A-Za-z0-9_-]{43})([A-Za-z0-9_-]{6})", re.ASCII)

ID_MIN: Final = 2
"""1 is the built-in company `operator`."""
ID_MAX: Final = 2**31 - 1

_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_EVENT_RANDOM_BYTES: Final = 10
_EVENT_CHARACTERS: Final = 26
_PAIRS: Final = [first + second for first in _CROCKFORD for second in _CROCKFORD]
_SHIFTS: Final = range(5 * (_EVENT_CHARACTERS - 2), -1, -10)


def new_token(role: Role, random_bytes: Callable[[int], bytes]) -> str:
    """Return a token as it is shown, once."""
    return _new(PREFIXES[role], random_bytes)


def new_pass(random_bytes: Callable[[int], bytes]) -> str:
    """Return the token of a session that a link opens: shown to nobody, and of whatever role the link is."""
    return _new(PASS_PREFIX, random_bytes)


def new_link_code(random_bytes: Callable[[int], bytes]) -> str:
    """Return the code of a link, which needs no encoding behind the `#` of an address."""
    return _new(LINK_PREFIX, random_bytes)


def new_client_secret(random_bytes: Callable[[int], bytes]) -> str:
    """Return an account's client secret as it is shown, once. Needs no encoding, neither in a form nor in Basic."""
    return _new(SECRET_PREFIX, random_bytes)


def client_id_of(account_id: int) -> str:
    """Return the client id of an account."""
    return f"{CLIENT_PREFIX}{account_id}"


def account_of(client_id: str) -> int | None:
    """Return the account that a client id names, None where it can be none's."""
    digits = client_id.removeprefix(CLIENT_PREFIX)
    is_one = digits.isascii() and digits.isdigit() and len(digits) <= 10 and client_id == client_id_of(int(digits))
    return int(digits) if is_one and int(digits) <= ID_MAX else None


def is_well_formed(token: str) -> bool:
    """Tell whether `new_token` or `new_pass` could have made this: what is not need not be looked up.

    Proves nothing else.
    """
    return _is_checked(_CHECKED, token)


def is_link_code(code: str) -> bool:
    """Tell whether `new_link_code` could have made this; proves nothing else."""
    return _is_checked(_LINK, code)


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
    return "evt_" + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def _new(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    unchecked = prefix + _base64url(random_bytes(TOKEN_BYTES))
    return unchecked + _checksum(unchecked)


def _is_checked(form: re.Pattern[str], text: str) -> bool:
    found = form.fullmatch(text)
    return found is not None and _checksum(found[1]) == found[2]


def _checksum(text: str) -> str:
    return _base64url(crc32(text.encode()).to_bytes(4, "big"))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
