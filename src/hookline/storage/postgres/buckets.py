"""Which bucket a row lies in: the unit in which this database could be spread over nodes. Pure.

A company's bucket is stored with it and copied into each of its rows. A group of buckets is what one transaction may
write; on a single PostgreSQL there is one group, of all buckets.
"""

from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

COUNT: Final = 256
"""Enough to fill many nodes evenly, few enough to name all of them in a statement."""

EVERY: Final[Sequence[int]] = tuple(range(COUNT))
"""The one group of a database that is not spread."""


def of_company(company_id: int) -> int:
    """Return the bucket that a company is given when it is made, and keeps."""
    return company_id % COUNT


def of_companies(company_ids: Iterable[int]) -> Sequence[int]:
    """Return the buckets of some companies, each once."""
    return list({of_company(company_id) for company_id in company_ids})


def of_text(text: str) -> int:
    """Return the bucket of a key or an event's id: the same for ever and on every node."""
    return crc32(text.encode()) % COUNT
