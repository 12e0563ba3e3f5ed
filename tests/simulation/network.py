"""The other side: receivers that answer, dawdle, lie, reset, vanish from the DNS, or bring the node down that calls."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from random import Random
from typing import Final

from hookline.egress.sender import Call
from hookline.model import Answered, ErrorClass, Failed, Outcome, Timings
from simulation import handshakes
from simulation.handshakes import Grants

Start = Callable[[int, Call], object]
"""Told that a node starts an attempt; what it returns names the attempt."""
End = Callable[[object, Outcome], None]

CHARACTERS: Final[dict[str, tuple[str, ...]]] = {
    "healthy": ("200", "200", "200", "204 slow"),
    "moody": ("200", "500", "reset", "302", "200 late", "dns"),
    "failing": ("500", "400", "connect", "garbage"),
    "hanging": ("hang", "hang", "200 late"),
    "dripping": ("hang", "200", "500"),
    "gone": ("410", "410", "500"),
    "busy": ("503 rest", "429 rest", "200", "429 date"),
    "lying": ("200 rest", "503 nonsense", "301", "garbage", "200"),
    "deadly": ("deadly",),
    "prompt": ("200",),
    "mute": ("hang",),
}
"""What each kind of receiver does, one drawn a call."""

CALM: Final = {"hang": "500", "200 late": "200", "204 slow": "204", "dns": "500", "connect": "500"}
"""What they do instead once faults have stopped."""


class Receivers:
    """All receivers, by number."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.characters: dict[int, str] = {}
        self.kills_left: dict[int, int] = {}
        self.manners: dict[int, str] = {}
        """What each answers when it is asked whether it wants deliveries."""
        self.is_calm = False
        self.kill: Callable[[int], None] = lambda _node: None

    def behaviour(self, number: int) -> str:
        """Draw what the receiver does with its next call."""
        character = self.characters[number]
        if character == "deadly":
            if self.kills_left[number] > 0:
                self.kills_left[number] -= 1
                return "deadly"
            return "200"
        drawn = self._random.choice(CHARACTERS[character])
        return CALM.get(drawn, drawn) if self.is_calm else drawn

    async def outcome(self, node: int, number: int, call: Call, now_ms: int) -> Outcome:
        """Play one call to its end."""
        random, what = self._random, self.behaviour(number)
        kind, _, manner = what.partition(" ")
        seconds = 0.02 * random.random()
        if kind == "deadly":
            self.kill(node)
            await asyncio.sleep(0.01)
        elif kind == "hang":
            await asyncio.sleep(call.timeout_seconds)
            return failed(ErrorClass.TIMEOUT, call.timeout_seconds)
        elif manner in {"late", "slow"}:
            seconds = call.timeout_seconds * random.random()
        await asyncio.sleep(seconds)
        match kind:
            case "dns":
                return failed(ErrorClass.DNS, seconds)
            case "connect":
                return failed(ErrorClass.CONNECT, seconds)
            case "reset" | "garbage" | "deadly":
                return failed(ErrorClass.PROTOCOL, seconds)
            case _:
                return answered(int(kind), seconds, self._retry_after(manner, now_ms))

    async def handshake(self, number: int, call: Call, grants: Grants) -> Outcome:
        """Answer whether deliveries are wanted, or not at all."""
        random = self._random
        seconds = random.choice((0.01, 0.3, 2.0, 6.0)) * random.random()
        await asyncio.sleep(min(seconds, call.timeout_seconds))
        if seconds >= call.timeout_seconds:
            return failed(ErrorClass.TIMEOUT, call.timeout_seconds)
        said = handshakes.answer(self.manners[number], random, is_calm=self.is_calm)
        status, head = handshakes.head_of(said)
        grants.answered(call, said)
        return Answered(status=status, duration_ms=1, timings=Timings(), head=head, body=b"", retry_after=None)

    def _retry_after(self, manner: str, now_ms: int) -> str | None:
        match manner:
            case "rest":
                return str(self._random.choice((0, 1, 2, 4, 4, 100_000)))
            case "date":
                return formatdate(now_ms / 1000 + self._random.choice((-2, 3, 6)), usegmt=True)
            case "nonsense":
                return self._random.choice(("soon", "-5", "1.5", ""))
            case _:
                return None


def answered(status: int, seconds: float, retry_after: str | None) -> Answered:
    head = b"HTTP/1.1 %d -" % status
    duration_ms = int(seconds * 1000)
    return Answered(
        status=status, duration_ms=duration_ms, timings=Timings(), head=head, body=b"", retry_after=retry_after
    )


def failed(error: ErrorClass, seconds: float) -> Failed:
    return Failed(error=error, detail="As the script says.", duration_ms=int(seconds * 1000), timings=Timings())


class Network:
    """What one node calls receivers through: `engine.Sends`."""

    def __init__(
        self, node: int, receivers: Receivers, wall_ms: Callable[[], int], *, start: Start, end: End, grants: Grants
    ) -> None:
        self._node = node
        self._grants = grants
        self._receivers = receivers
        self._wall_ms = wall_ms
        self._start = start
        self._end = end

    async def send(self, call: Call) -> Outcome:
        number = int(call.url.target.split("/")[1])
        if call.method == "OPTIONS":
            return await self._receivers.handshake(number, call, self._grants)
        attempt = self._start(self._node, call)
        outcome = await self._receivers.outcome(self._node, number, call, self._wall_ms())
        self._end(attempt, outcome)
        return outcome
