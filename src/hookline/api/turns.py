"""Whose turn it is to change what several want to change at once, on this node.

A change is read, judged and stored where nobody else's came between. Of ten at the same moment nine would read again,
of these eight, and the last would give up; in a row each reads once. Other nodes know nothing of it: between them it is
found when storing, and read again.
"""

from asyncio import Lock
from typing import Final
from weakref import WeakValueDictionary

CHANGE_TRIES: Final = 20
"""Two nodes that change the same at once: the second reads again. So many times in a row is a fault."""


class Turns:
    """A lock for each id that somebody is at, and for no other.

    What is done under it is bounded by the storage's own timeouts, and keeps nobody waiting but those who would change
    the same: there they wait anyway.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, Lock] = WeakValueDictionary()

    def of(self, id_: int) -> Lock:
        """Return the lock to hold while changing what has this id."""
        lock = self._locks.get(id_)
        if lock is None:
            self._locks[id_] = lock = Lock()
        return lock
