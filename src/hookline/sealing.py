"""How secrets, credentials and header values are kept: AES-256-GCM, bound to the row they belong to.

A sealed value reads: format (1 byte), key id (4), nonce (12), ciphertext and tag. Format, key id and the row's
identity are authenticated with it, so a value moved to another row does not open.
"""

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT: Final = b"\x01"
KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 4
NONCE_BYTES: Final = 12
HEADER_BYTES: Final = len(FORMAT) + KEY_ID_BYTES
SEALED_BYTES_MIN: Final = HEADER_BYTES + NONCE_BYTES + 16


class Unsealable(Exception):
    """No key at hand opens this, or it is not what was sealed for this row. Says nothing of the value or the keys."""


class Keyring:
    """The installation's keys: the first seals, all open. May be empty where nothing sealed is touched."""

    def __init__(self, keys: Sequence[bytes], random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        if any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self._random_bytes = random_bytes
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._sealing_id = _key_id(keys[0]) if keys else None

    def seal(self, plain: bytes, context: str) -> bytes:
        """Seal `plain` for the row that `context` names, e.g. `subscription/123/secret`."""
        if self._sealing_id is None:
            raise Unsealable("there is no key to seal with: set HOOKLINE_SECRET_KEY")
        header = FORMAT + self._sealing_id
        nonce = self._random_bytes(NONCE_BYTES)
        return header + nonce + self._ciphers[self._sealing_id].encrypt(nonce, plain, header + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed for `context`, or raise `Unsealable`."""
        header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
        if len(sealed) < SEALED_BYTES_MIN or not header.startswith(FORMAT):
            raise Unsealable(f"{context}: this is no sealed value")
        cipher = self._ciphers.get(header[len(FORMAT) :])
        if cipher is None:
            raise Unsealable(f"{context}: sealed with a key that HOOKLINE_SECRET_KEY does not hold")
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], header + context.encode())
        except InvalidTag as error:
            raise Unsealable(f"{context}: changed since it was sealed, or sealed for another row") from error

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether the first key sealed this: what a rotation has yet to seal again is not current."""
        return self._sealing_id is not None and sealed.startswith(FORMAT + self._sealing_id)


def _key_id(key: bytes) -> bytes:
    """Name a key without telling it: the hash is of 256 random bits, so four of its bytes lead nowhere."""
    return sha256(b"hookline key id" + key).digest()[:KEY_ID_BYTES]
