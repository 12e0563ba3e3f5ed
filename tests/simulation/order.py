"""Who comes first at an ordered subscription, as publishers saw it: an answer came before another event was posted."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

NEVER: Final = float("inf")


class Course(NamedTuple):
    """What became of one delivery of an ordered subscription."""

    event_id: str
    first_started_at: float
    first_ended_at: float
    """When its first round ended, however it did."""


class Order:
    """The moments of publishing."""

    def __init__(self) -> None:
        self._posted_at: dict[str, float] = {}
        self._answered_at: dict[str, float] = {}

    def posted(self, at: float, event_ids: Iterable[str]) -> None:
        """Note that somebody asks for these to be published."""
        for event_id in event_ids:
            self._posted_at.setdefault(event_id, at)

    def answered(self, at: float, posted_at: float, event_ids: Iterable[str]) -> None:
        """Note the answer that they are accepted, and when it was first asked for."""
        for event_id in event_ids:
            self._posted_at.setdefault(event_id, posted_at)
            self._answered_at.setdefault(event_id, at)

    def overtaken(self, courses: list[Course]) -> Iterator[tuple[str, str]]:
        """Find pairs of events of which the second was started before the first had ended."""
        for first in courses:
            answered_at = self._answered_at.get(first.event_id, NEVER)
            for second in courses:
                if (
                    answered_at < self._posted_at.get(second.event_id, 0.0)
                    and second.first_started_at < first.first_ended_at
                ):
                    yield first.event_id, second.event_id
