"""How a password is kept: scrypt (RFC 7914), its costs beside it so that they may rise later. Pure.

Slow on purpose: a fifth of a second and 16 MiB each time: never on the event loop.
"""

import base64
import re
from hashlib import scrypt
from hmac import compare_digest
from typing import Final

SALT_BYTES: Final = 16
HASH_BYTES: Final = 32
COST_LOG2, BLOCKS, LANES = 14, 8, 5
"""What OWASP's Password Storage Cheat Sheet (2025) asks of scrypt where 16 MiB are spent."""
_MEMORY_MAX: Final = 128 * 1024 * 1024

_STORED: Final = re.compile(r"\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+)")


def hash_of(password: str, salt: bytes) -> str:
    """Return what is stored of a password; `salt` is `SALT_BYTES` of randomness, new for each."""
    return _written(salt, _stretched(password, salt, COST_LOG2, BLOCKS, LANES))


def is_right(password: str, stored: str) -> bool:
    """Tell whether `stored` was made of this password; takes the time that its costs say, right or wrong."""
    found = _STORED.fullmatch(stored)
    if found is None:
        raise ValueError("this was not written by passwords.hash_of")
    cost_log2, blocks, lanes = (int(number) for number in found.groups()[:3])
    salt, expected = (base64.b64decode(text) for text in found.groups()[3:])
    return compare_digest(_stretched(password, salt, cost_log2, blocks, lanes), expected)


def of_nobody() -> str:
    """Return what no password was made into: to spend the same time where there is none to compare with."""
    return _written(bytes(SALT_BYTES), bytes(HASH_BYTES))


def _written(salt: bytes, stretched: bytes) -> str:
    texts = [base64.b64encode(raw).decode() for raw in (salt, stretched)]
    return f"$scrypt$ln={COST_LOG2},r={BLOCKS},p={LANES}${'$'.join(texts)}"


def _stretched(password: str, salt: bytes, cost_log2: int, blocks: int, lanes: int) -> bytes:
    return scrypt(
        password.encode(), salt=salt, n=1 << cost_log2, r=blocks, p=lanes, maxmem=_MEMORY_MAX, dklen=HASH_BYTES
    )
