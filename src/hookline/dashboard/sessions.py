"""Who has signed in: a session is a sealed cookie that holds the token it was opened with.

Nothing is stored, so every node knows every session; and because the token itself is judged on each page, revoking it
ends its sessions with it. The browser cannot read the cookie, change it, or send it from a stranger's page; where a
portal may be framed, its cookie is also sent from pages of strangers, and what a form must repeat (`form_key`) alone
keeps these from changing anything. It is made of a number that only the sealed cookie holds.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final

import msgspec
from msgspec import Struct, structs

from hookline.model import Token
from hookline.sealing import Keyring, Unsealable

SESSION_SECONDS: Final = 12 * 3_600
"""A day's or a night's work."""
PREFERENCE_SECONDS: Final = 365 * 86_400
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
    is_portal: bool = False
    """Whether a portal's link opened it."""

    @property
    def form_key(self) -> str:
        """Return what each form repeats: proof that it is from a page of ours, shown in this session."""
        return sha256(f"form {self.nonce}".encode()).hexdigest()[:32]

    def is_form_key(self, shown: str) -> bool:
        """Tell whether a form repeats what it was given."""
        return compare_digest(shown.encode(), self.form_key.encode())


class Sessions:
    """Open, read and end sessions. `is_secure`: people reach us by https; `is_framed`: others may frame the portal."""

    def __init__(
        self, keyring: Keyring, random_bytes: Callable[[int], bytes], *, is_secure: bool, is_framed: bool
    ) -> None:
        self._keyring = keyring
        self._random_bytes = random_bytes
        self._is_secure = is_secure
        self._is_framed = is_framed
        self.cookie_name = "__Host-hookline" if is_secure else "hookline"
        """Two names: the prefix makes browsers refuse the cookie from anything but https and this very host."""
        self.form_cookie_name = f"{self.cookie_name}-form"
        """Of those who have not signed in. Apart, so that a visit from elsewhere, for which browsers hold a strict
        cookie back, does not overwrite the session."""
        self.portal_cookie_name = f"{self.cookie_name}-portal"
        """Apart, so that a platform's page with a portal in it ends nobody's session of another kind."""

    def opened(self, now: int, token: str | None = None, name: str = "", *, seconds: int = SESSION_SECONDS) -> Session:
        """Make a new session; never one that was there before, which somebody else could have planted."""
        return Session(
            nonce=self._random_bytes(NONCE_BYTES).hex(),
            issued_at=now,
            expires_at=now + seconds * 1000,
            token=token,
            name=name,
        )

    def opened_by_link(self, now: int, text: str, token: Token) -> Session:
        """Make the session of a pass; it ends when that does."""
        session = self.opened(now, text, token.name)
        is_portal = token.company_id is not None
        return structs.replace(session, expires_at=token.expires_at or session.expires_at, is_portal=is_portal)

    def read(self, cookies: Mapping[str, str], now: int) -> Session | None:
        """Return the session of a request, the newest where there are two; else that of a form, or None."""
        found = [
            session
            for name in (self.cookie_name, self.portal_cookie_name, self.form_cookie_name)
            if (session := self._opened_of(cookies.get(name, "")))
            and session.expires_at > now
            and name == self._name_of(session)
        ]
        return max(found, key=lambda session: (session.token is not None, session.issued_at), default=None)

    def cookie(self, session: Session) -> str:
        """Return the `Set-Cookie` of a session."""
        sealed = self._keyring.seal(msgspec.json.encode(session), _CONTEXT)
        seconds = (session.expires_at - session.issued_at) // 1000
        return self._header(self._name_of(session), base64.urlsafe_b64encode(sealed).decode().rstrip("="), seconds)

    def preference(self, session: Session, name: str, value: str) -> str:
        """Return the `Set-Cookie` of something that a visitor prefers; it goes wherever the session's goes.

        Scripts of ours change it, too.
        """
        return f"{name}={value}; Path=/; Max-Age={PREFERENCE_SECONDS}; {self._reach(is_framed=self.is_framed(session))}"

    def is_framed(self, session: Session) -> bool:
        """Tell whether the cookies of a session also go into frames of others."""
        return self._is_framed and session.is_portal

    def ending(self) -> list[str]:
        """Return each `Set-Cookie` that it takes to end all sessions in this browser."""
        return [self._header(name, "", 0) for name in (self.cookie_name, self.portal_cookie_name)]

    def _name_of(self, session: Session) -> str:
        if session.token is None:
            return self.form_cookie_name
        return self.portal_cookie_name if session.is_portal else self.cookie_name

    def _header(self, name: str, value: str, seconds: int) -> str:
        """Write a cookie that comes with our own pages alone; a portal's also in the frames of whom the settings list.

        Partitioned: there it is one for each site that frames us, and no stranger's frame gets it.
        """
        reach = self._reach(is_framed=self._is_framed and name == self.portal_cookie_name)
        return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; {reach}"

    def _reach(self, *, is_framed: bool) -> str:
        site = "None; Partitioned" if is_framed else "Strict"
        return f"SameSite={site}{'; Secure' if self._is_secure or is_framed else ''}"

    def _opened_of(self, text: str) -> Session | None:
        if not text or len(text) > COOKIE_BYTES_MAX:
            return None
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return msgspec.json.decode(self._keyring.open(sealed, _CONTEXT), type=Session)
        except (Unsealable, binascii.Error, ValueError):
            return None
