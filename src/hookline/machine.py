"""What a process takes of its machine: descriptors, randomness, and how often it looks for garbage."""

import ctypes
import gc
import os
import resource
import secrets
from typing import Final

from msgspec import structs

from hookline.config import Settings

DESCRIPTORS_EACH: Final = 2
"""Of an attempt in flight: its connection, and one that idles for the next to the same receiver."""
DESCRIPTORS_KEPT: Final = 1_280
"""For the API's connections (at most 1,024), the database and the log: what attempts may not use up."""

TIMEX_BYTES_MAX: Final = 512
"""More than the kernel's `struct timex` has on any machine."""
CLOCK_UNSYNCHRONISED: Final = 5
"""TIME_ERROR of adjtimex(2)."""

RANDOM_BYTES_FETCHED: Final = 4_096


def within_descriptors(settings: Settings) -> Settings:
    """Raise the descriptor limit to what attempts in flight need, or lower them to what it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_in_flight * DESCRIPTORS_EACH + DESCRIPTORS_KEPT
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= wanted:
        return settings
    kept = min(DESCRIPTORS_KEPT, soft // 2)
    return structs.replace(settings, max_in_flight=max(1, (soft - kept) // DESCRIPTORS_EACH))


def tame_collector() -> None:
    """Let the cyclic collector skip what lives as long as the process, and look less often at the rest.

    Values on the path of a delivery form no cycles: what it looks for there it does not find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def is_clock_synchronised() -> bool | None:
    """Tell whether the kernel knows its clock to be disciplined by NTP or the like; None where it does not say."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES_MAX))  # all zero: only asks
    return None if state < 0 else state != CLOCK_UNSYNCHRONISED


def kind_of_file_system(path: str, mounts: str = "/proc/self/mountinfo") -> str | None:
    """Return the type of the file system that holds `path`, as in `ext4` or `nfs4`; None where it is not told."""
    place = os.path.realpath(path)
    longest, kind = -1, None
    try:
        with open(mounts, encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            for line in lines:
                head, _, tail = line.partition(" - ")
                mounted = head.split()[4]
                is_above = mounted in {"/", place} or place.startswith(f"{mounted}/")
                if is_above and len(mounted) >= longest:
                    longest, kind = len(mounted), tail.split()[0]
    except (OSError, IndexError):
        return None
    return kind


class Randomness:
    """The kernel's random bytes, fetched thousands at a time: a call costs 5 µs, and an event's id takes ten bytes.

    Used by one thread.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._used = 0

    def __call__(self, size: int) -> bytes:
        """Return `size` bytes that nobody gets twice."""
        if self._used + size > len(self._bytes):
            self._bytes, self._used = secrets.token_bytes(max(RANDOM_BYTES_FETCHED, size)), 0
        taken = self._bytes[self._used : self._used + size]
        self._used += size
        return taken
