"""Who has signed in: a session is a sealed cookie that holds the token it was opened with.

Nothing is stored, so every node knows every session; and because the token itself is judged on each page, revoking it
ends its sessions with it. The browser cannot read the cookie, change it, or send it from a stranger's page. What a
form must repeat (`form_key`) is made of a number that only the sealed cookie holds.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final

import msgspec
from msgspec import Struct

from hookline.sealing import Keyring, Unsealable

SESSION_SECONDS: Final = 12 * 3_600
"""A day's or a night's work."""
NONCE_BYTES: Final = 16
COOKIE_BYTES_MAX: Final = 2_048
_CONTEXT: Final = "dashboard/session"


class Session(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the cookie holds. Without a token: somebody who is about to sign in, and needs a form that is theirs."""

    nonce: str
    issued_at: int
    expires_at: int
    token: str | None = None
    name: str = ""
    """Of the token, for people."""

    @property
    def form_key(self) -> str:
        """Return what each form repeats: proof that it is from a page of ours, shown in this session."""
        return sha256(f"form {self.nonce}".encode()).hexdigest()[:32]

    def is_form_key(self, shown: str) -> bool:
        """Tell whether a form repeats what it was given."""
        return compare_digest(shown.encode(), self.form_key.encode())


class Sessions:
    """Open, read and end sessions. `is_secure`: people reach us by https."""

    def __init__(self, keyring: Keyring, random_bytes: Callable[[int], bytes], *, is_secure: bool) -> None:
        self._keyring = keyring
        self._random_bytes = random_bytes
        self._is_secure = is_secure
        self.cookie_name = "__Host-hookline" if is_secure else "hookline"
        """Two names: the prefix makes browsers refuse the cookie from anything but https and this very host."""
        self.form_cookie_name = f"{self.cookie_name}-form"
        """Of those who have not signed in. Apart, so that a visit from elsewhere, for which browsers hold a strict
        cookie back, does not overwrite the session."""

    def opened(self, now: int, token: str | None = None, name: str = "") -> Session:
        """Make a new session; never one that was there before, which somebody else could have planted."""
        return Session(
            nonce=self._random_bytes(NONCE_BYTES).hex(),
            issued_at=now,
            expires_at=now + SESSION_SECONDS * 1000,
            token=token,
            name=name,
        )

    def read(self, cookies: Mapping[str, str], now: int) -> Session | None:
        """Return the session of a request, that of a form where nobody has signed in; None for neither."""
        for name, needs_token in ((self.cookie_name, True), (self.form_cookie_name, False)):
            session = self._opened_of(cookies.get(name, ""))
            if session and session.expires_at > now and (session.token is not None) is needs_token:
                return session
        return None

    def cookie(self, session: Session) -> str:
        """Return the `Set-Cookie` of a session."""
        name = self.form_cookie_name if session.token is None else self.cookie_name
        sealed = self._keyring.seal(msgspec.json.encode(session), _CONTEXT)
        return self._header(name, base64.urlsafe_b64encode(sealed).decode().rstrip("="), SESSION_SECONDS)

    def ending(self) -> str:
        """Return the `Set-Cookie` that ends a session in this browser."""
        return self._header(self.cookie_name, "", 0)

    def _header(self, name: str, value: str, seconds: int) -> str:
        secure = "; Secure" if self._is_secure else ""
        return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

    def _opened_of(self, text: str) -> Session | None:
        if not text or len(text) > COOKIE_BYTES_MAX:
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return msgspec.json.decode(self._keyring.open(sealed, _CONTEXT), type=Session)
        except (Unsealable, binascii.Error, ValueError):
            return None
