"""The states of a delivery, every legal move between them, and what an outcome means.

Pure. `MOVES` is the whole rule book: storage engines may make no other move, `docs/lifecycle.md` is generated from it,
and an illegal one raises. What a retry waits is decided in `retry`.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from hookline.model import Answered, DeliveryState, Outcome

PENDING, SENDING = DeliveryState.PENDING, DeliveryState.SENDING
SUCCEEDED, DEAD, CANCELLED = DeliveryState.SUCCEEDED, DeliveryState.DEAD, DeliveryState.CANCELLED

STORED: Final = (PENDING, SENDING, SUCCEEDED, DEAD, CANCELLED)
OPEN: Final = frozenset({PENDING, SENDING})
"""States in which `due_at` is set: the engine must look again."""
FINAL: Final = frozenset({SUCCEEDED, DEAD, CANCELLED})


START_WINDOW_MS: Final = 3_000
"""An attempt starts so soon after its claim was sent, or not at all: DELETE and deactivation wait for no more."""


class Move(StrEnum):
    """What can happen to a delivery."""

    CLAIM = "claim"
    RELEASE = "release"
    SUCCEED = "succeed"
    RETRY = "retry"
    GIVE_UP = "give up"
    LOSE = "lose"
    PARK = "park"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REDELIVER = "redeliver"
    PUT_BACK_SUCCEEDED = "put back as succeeded"
    PUT_BACK_DEAD = "put back as dead"


MOVES: Final[dict[tuple[DeliveryState, Move], DeliveryState]] = {
    (PENDING, Move.CLAIM): SENDING,
    (SENDING, Move.RELEASE): PENDING,
    (SENDING, Move.SUCCEED): SUCCEEDED,
    (SENDING, Move.RETRY): PENDING,
    (SENDING, Move.GIVE_UP): DEAD,
    (SENDING, Move.LOSE): PENDING,
    (SENDING, Move.PARK): DEAD,
    (PENDING, Move.CANCEL): CANCELLED,
    (SENDING, Move.CANCEL): CANCELLED,
    (PENDING, Move.EXPIRE): DEAD,
    (SUCCEEDED, Move.REDELIVER): PENDING,
    (DEAD, Move.REDELIVER): PENDING,
    (PENDING, Move.PUT_BACK_SUCCEEDED): SUCCEEDED,
    (PENDING, Move.PUT_BACK_DEAD): DEAD,
}


PUT_BACK: Final = {SUCCEEDED: Move.PUT_BACK_SUCCEEDED, DEAD: Move.PUT_BACK_DEAD}
"""How a delivery that a replay has opened, and nobody claimed, becomes again what it was."""
REOPENABLE: Final = frozenset(state for state, move in MOVES if move is Move.REDELIVER)
"""States that a redelivery or a replay leads back from."""


class IllegalMove(Exception):
    """A bug of ours: this move does not exist from this state. Nothing was changed."""


def after(state: DeliveryState, move: Move) -> DeliveryState:
    """Return the state that `move` leads to, or raise `IllegalMove`."""
    try:
        return MOVES[state, move]
    except KeyError:
        raise IllegalMove(f"a delivery that is {state} cannot {move}") from None


# --- verdicts --------------------------------------------------------------------------------------------------------


class Reason(StrEnum):
    """Why a delivery ended without success, as readers see it."""

    EXHAUSTED = "exhausted"
    CRASHED = "crashed"
    UNREADABLE = "unreadable"
    EXPIRED = "expired"
    DELETED = "deleted"
    ERASED = "erased"


class Succeed(Struct, frozen=True):
    """The receiver has it."""


class Retry(Struct, frozen=True):
    """Try again when `wait_ms` have passed since this is recorded."""

    wait_ms: int


class GiveUp(Struct, frozen=True):
    """No retry is left. `gone`: the last answer was 410, and the subscription becomes inactive with it."""

    reason: Reason
    gone: bool = False


Verdict = Succeed | Retry | GiveUp

GONE: Final = 410


def succeeded(outcome: Outcome) -> bool:
    """Tell whether the receiver accepted: a complete head with any 2xx status, whatever its body did."""
    return isinstance(outcome, Answered) and 200 <= outcome.status <= 299


def verdict(outcome: Outcome, next_wait_ms: int | None) -> Verdict:
    """Decide what one settled attempt means; `next_wait_ms` is what `retry` grants, None where no retry is left."""
    if succeeded(outcome):
        return Succeed()
    if next_wait_ms is not None:
        return Retry(next_wait_ms)
    return GiveUp(Reason.EXHAUSTED, gone=isinstance(outcome, Answered) and outcome.status == GONE)


# --- lost attempts ---------------------------------------------------------------------------------------------------

LOSS_WAITS_MS: Final = (0, 0, 60_000, 300_000, 1_800_000)
"""Waits after the first five attempts lost in a row. A delivery that brings the process down must not do so in a tight
loop, and five spaced losses are no accident; one innocent bystander of somebody else's crash loses no time."""


SUSPECT_LOSSES: Final = 3
"""From so many attempts lost in a row on, a node makes no attempt of a second such delivery beside the first.

A delivery that brings the process down takes all with it that are in flight. Spacing alone would send the same company
out together again, six times, and park them all as crashed. One by one, the guilty falls alone: it costs an innocent
three attempts at most, and those beside it that were never lost one."""


def is_suspect(losses: int) -> bool:
    """Tell whether a delivery with so many attempts lost in a row may be what brings the process down."""
    return losses >= SUSPECT_LOSSES


def verdict_of_loss(losses: int) -> Retry | GiveUp:
    """Decide what a lost attempt means; `losses` counts those lost in a row before this one. Uses no retry."""
    if losses < len(LOSS_WAITS_MS):
        return Retry(LOSS_WAITS_MS[losses])
    return GiveUp(Reason.CRASHED)
