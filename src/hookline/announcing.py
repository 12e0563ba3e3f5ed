"""Tell companies and the operator of what happens to their deliveries: notices become operational events.

A notice is noted in the transaction of the change that it tells of, published afterwards and then dropped. Whoever
stops between the two publishes it again under the same id, which stores nothing new.
"""

import logging
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import structs

from hookline.clock import rfc3339
from hookline.errors import Unavailable
from hookline.model import BUILT_IN_COMPANY_ID
from hookline.publishing import Announcement, Publisher
from hookline.storage.claims import Notice
from hookline.storage.protocol import Storage

log = logging.getLogger("hookline.announcing")

NOTICES_MAX: Final = 100
"""Of one step: each may be a publish of its own."""


class Announcer:
    """Publish what has been noted."""

    def __init__(self, storage: Storage, publisher: Publisher) -> None:
        self._storage = storage
        self._publisher = publisher

    async def step(self) -> None:
        """Tell the oldest notices; raises `Unavailable` where the database does not answer, and loses nothing."""
        found = await self._storage.notices(NOTICES_MAX)
        for notice in found:
            await self._tell(announcement_of(notice))
        if found:
            await self._storage.drop_notices([notice.id for notice in found])

    async def _tell(self, announcement: Announcement) -> None:
        """Publish it, where that fails for each company alone: one whose rows are damaged keeps no other from hearing.

        That one is not told: kept, its notices would be the oldest for ever, and hide all that come later.
        """
        try:
            await self._publisher.announce(announcement)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a row of somebody; found out below whose
            if len(announcement.company_ids) == 1:
                _say_untold(announcement, error)
                return
            for company_id in announcement.company_ids:
                await self._tell(structs.replace(announcement, company_ids=(company_id,)))


def _say_untold(announcement: Announcement, error: Exception) -> None:
    log.error(
        "company %d cannot be told by an event of type %s: %s. If a row of it is damaged, restore that."
        " What it would have been told: %s",
        announcement.company_ids[0],
        announcement.event_type,
        str(error) or type(error).__name__,
        announcement.data.decode(),
    )


def announcement_of(notice: Notice) -> Announcement:
    """Return the event that tells of it, for the company of its subscription and for the operator."""
    data = msgspec.json.encode(
        {
            "subscriptionId": notice.subscription_id,
            "companyId": notice.company_id,
            "deliveryId": notice.delivery_id,
            "eventId": notice.event_id,
            "reason": notice.reason,
            "since": rfc3339(notice.since),
        }
    )
    told = msgspec.json.encode((notice.event_type, notice.created_at)) + data
    return Announcement(
        id=f"evt_{sha256(told).hexdigest()[:40]}",
        event_type=notice.event_type,
        data=data,
        company_ids=tuple({notice.company_id, BUILT_IN_COMPANY_ID}),
    )
