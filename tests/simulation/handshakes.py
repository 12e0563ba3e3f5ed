"""Receivers that are asked first whether they want deliveries, and what became of asking, told anew from the contract.

The CloudEvents web hook handshake; nothing is sent to a callback URL before its receiver has granted it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from hookline.egress.sender import Call

ORIGIN: Final = "hooks.example.com"
MANNERS: Final = ("anybody", "us", "us", "slowly", "at a rate", "others", "silent", "refusing", "odd rate", "never")
"""What a receiver answers when it is asked; once faults have stopped all but the last grant."""

_ANSWERS: Final = {
    "anybody": (200, "WebHook-Allowed-Origin: *"),
    "us": (204, f"webhook-allowed-origin: {ORIGIN}"),
    "slowly": (200, f"WebHook-Allowed-Origin: {ORIGIN}\r\nWebHook-Allowed-Rate: 30"),
    "at a rate": (200, f"WebHook-Allowed-Origin: {ORIGIN}\r\nWebHook-Allowed-Rate: 120"),
    "others": (200, "WebHook-Allowed-Origin: elsewhere.example.com"),
    "silent": (200, "Allow: OPTIONS"),
    "refusing": (405, f"WebHook-Allowed-Origin: {ORIGIN}"),
    "odd rate": (200, f"WebHook-Allowed-Origin: {ORIGIN}\r\nWebHook-Allowed-Rate: -1"),
    "never": (410, ""),
}
_GRANTS: Final[dict[str, float | None]] = {"anybody": None, "us": None, "slowly": 0.5, "at a rate": 2.0}
"""Those that grant, and how many a second."""


def answer(manner: str, random: Random, *, is_calm: bool) -> str:
    """Draw what a receiver answers this time: one that refuses may come round."""
    if manner == "never" or manner in _GRANTS:
        return manner
    return "us" if is_calm or random.random() < 0.3 else manner


def head_of(said: str) -> tuple[int, bytes]:
    """Return status and head of an answer."""
    status, fields = _ANSWERS[said]
    return status, f"HTTP/1.1 {status} -\r\n{fields}".encode()


@dataclass(slots=True)
class Consent:
    """What the receiver of one subscription has granted, as its lane should keep it."""

    wanted_url: str | None = None
    """What it must grant; None: nothing."""
    is_granted: bool = False
    allowed: float | None = None
    ask_at: int | None = None
    tries: int = 0

    def want(self, url: str | None, now: int, *, is_active: bool) -> bool:
        """Take a new revision; tell whether a grant was taken back by it."""
        is_kept = self.is_granted and url == self.wanted_url
        was_granted, self.is_granted = self.is_granted, is_kept
        self.allowed = self.allowed if is_kept else None
        self.wanted_url, self.tries = url, 0
        self.ask_at = now if is_active and url is not None and not is_kept else None
        return was_granted and url is not None and not is_kept

    def ask(self, now: int, wait_ms: int) -> None:
        """Note that the receiver is being asked."""
        self.ask_at = now + (wait_ms << min(self.tries, 8))
        self.tries += 1

    def grant(self, url: str, allowed: float | None) -> bool:
        """Take a grant; False: it is not wanted any more."""
        if self.ask_at is None or url != self.wanted_url:
            return False
        self.is_granted, self.allowed, self.ask_at = True, allowed, None
        return True

    @property
    def is_missing(self) -> bool:
        return self.wanted_url is not None and not self.is_granted


class Grants:
    """What receivers were asked and have granted, by what went over the wire."""

    def __init__(self, complain: Callable[[str], object]) -> None:
        self._complain = complain
        self._granted: dict[tuple[int, str], set[float | None]] = {}

    def answered(self, call: Call, said: str) -> None:
        """Note an answer to a handshake, and see that the question was in order."""
        headers = dict(call.headers)
        if headers.get("WebHook-Request-Origin") != ORIGIN or call.body:
            self._complain(f"I16: a handshake says {call.headers}")
        if said in _GRANTS:
            self._granted.setdefault(_asked(call), set()).add(_GRANTS[said])

    def covers(self, subscription_id: int, url: str) -> bool:
        """Tell whether a receiver has ever granted this."""
        return (subscription_id, url) in self._granted

    def has(self, subscription_id: int, url: str, allowed: float | None) -> bool:
        """Tell whether it has granted so much."""
        return allowed in self._granted.get((subscription_id, url), ())


def _asked(call: Call) -> tuple[int, str]:
    url = f"{call.url.scheme}://{call.url.authority}{call.url.target}"
    return int(call.url.target.split("/")[2]), url
