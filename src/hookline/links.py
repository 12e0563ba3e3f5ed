"""Links that sign a browser in once: made for a company's people, or in development for whoever started the server.

A code is random, stands behind the `#` of its link, where browsers send it to nobody, and is known here by its hash
alone. It is exchanged for a pass, a token of a session that ends by itself.
"""

from collections.abc import Callable
from typing import Final

from hookline import tokens
from hookline.clock import Clock
from hookline.errors import NotFound, Unavailable
from hookline.model import Action, Change, Link, Role, Token
from hookline.storage.protocol import Redemption, Storage

MINUTE_MS: Final = 60_000
PORTAL_LINK_MS: Final = 5 * MINUTE_MS
"""From a platform's server to its customer's browser: a moment, and some patience."""
PORTAL_SESSION_MS: Final = 60 * MINUTE_MS
OPERATOR_LINK_MS: Final = 12 * 60 * MINUTE_MS
"""It stands in a terminal beside a token that never ends."""
OPERATOR_SESSION_MS: Final = 12 * 60 * MINUTE_MS
PORTAL: Final = "portal"
SIGN_IN_LINK: Final = "sign-in link"
ID_TRIES: Final = 5
"""Random ids of 31 bits are taken at times; five in a row are a fault."""


class Links:
    """Make and exchange links."""

    def __init__(
        self, *, storage: Storage, clock: Clock, random_bytes: Callable[[int], bytes], public_url: str
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._random_bytes = random_bytes
        self._public_url = public_url

    async def create_for_company(self, company_id: int, role: Role, *, actor: str) -> tuple[str, Link]:
        """Store a link to a company's face; return its address, shown once. Raises `NotFound` without the company."""
        code = tokens.new_link_code(self._random_bytes)
        link = self._link(code, company_id, role, PORTAL, lasts_ms=PORTAL_LINK_MS, session_ms=PORTAL_SESSION_MS)
        made = Change(actor=actor, action=Action.PORTAL_LINK_CREATED, target=str(company_id), company_id=company_id)
        if not await self._storage.create_link(link, change=made):
            raise NotFound("There is no such company.")
        return f"{self._public_url}/portal#{code}", link

    async def create_for_operator(self, url: str) -> str:
        """Store a link to the operator's face; return its address under `url`."""
        code = tokens.new_link_code(self._random_bytes)
        link = self._link(
            code, None, Role.OPERATOR, SIGN_IN_LINK, lasts_ms=OPERATOR_LINK_MS, session_ms=OPERATOR_SESSION_MS
        )
        await self._storage.create_link(link)
        return f"{url}/portal#{code}"

    async def redeem(self, code: str) -> tuple[str, Token] | None:
        """Use a code up; return a new token with what is known of it. None: used, expired, or no code of ours."""
        if not tokens.is_link_code(code):
            return None
        text = tokens.new_pass(self._random_bytes)
        for _ in range(ID_TRIES):
            token_id = tokens.new_id(self._random_bytes)
            match await self._storage.redeem_link(tokens.hash_of(code), token_id, tokens.hash_of(text)):
                case Redemption.SPENT:
                    return None
                case Redemption.ID_TAKEN:
                    continue
                case Token() as token:
                    return text, token
        raise Unavailable("No free id was found for the session. The link was not used up; try again.")

    def _link(
        self, code: str, company_id: int | None, role: Role, name: str, *, lasts_ms: int, session_ms: int
    ) -> Link:
        now = self._clock.wall_ms()
        return Link(
            hash=tokens.hash_of(code),
            company_id=company_id,
            role=role,
            name=name,
            created_at=now,
            expires_at=now + lasts_ms,
            session_ms=session_ms,
        )
