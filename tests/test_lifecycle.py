"""A delivery moves as the table says, and in no other way."""

from itertools import product

import pytest

from hookline.lifecycle import (
    FINAL,
    LOSS_WAITS_MS,
    MOVES,
    OPEN,
    STORED,
    GiveUp,
    IllegalMove,
    Move,
    Reason,
    Retry,
    Succeed,
    Verdict,
    after,
    succeeded,
    verdict,
    verdict_of_loss,
)
from hookline.model import Answered, DeliveryState, ErrorClass, Failed, Outcome, Timings

PENDING, SENDING, SUCCEEDED = DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.SUCCEEDED
DEAD, CANCELLED, HELD = DeliveryState.DEAD, DeliveryState.CANCELLED, DeliveryState.HELD

LEGAL = {
    (PENDING, "claim", SENDING),
    (PENDING, "cancel", CANCELLED),
    (PENDING, "expire", DEAD),
    (SENDING, "release", PENDING),
    (SENDING, "succeed", SUCCEEDED),
    (SENDING, "retry", PENDING),
    (SENDING, "give up", DEAD),
    (SENDING, "lose", PENDING),
    (SENDING, "park", DEAD),
    (SENDING, "cancel", CANCELLED),
    (SUCCEEDED, "redeliver", PENDING),
    (DEAD, "redeliver", PENDING),
    (PENDING, "put back as succeeded", SUCCEEDED),
    (PENDING, "put back as dead", DEAD),
}


def _answered(status: int) -> Answered:
    return Answered(status=status, duration_ms=1, timings=Timings(), head=b"", body=b"")


def _failed(error: ErrorClass) -> Failed:
    return Failed(error=error, detail="It did not work.", duration_ms=1, timings=Timings())


# --- moves -----------------------------------------------------------------------------------------------------------


def test_the_moves_are_those_of_the_design() -> None:
    assert {(before, str(move), state) for (before, move), state in MOVES.items()} == LEGAL


@pytest.mark.parametrize(("state", "move"), list(product(DeliveryState, Move)), ids=str)
def test_every_other_move_raises(state: DeliveryState, move: Move) -> None:
    if (state, move) in MOVES:
        assert after(state, move) is MOVES[state, move]
    else:
        with pytest.raises(IllegalMove, match=f"a delivery that is {state} cannot {move}"):
            after(state, move)


def test_every_stored_state_is_either_open_or_final() -> None:
    assert set(STORED) == OPEN | FINAL
    assert not OPEN & FINAL
    assert HELD not in STORED


def test_only_a_redelivery_leaves_a_final_state() -> None:
    assert {move for (before, move) in MOVES if before in FINAL} == {Move.REDELIVER}


def test_what_is_cancelled_stays_so() -> None:
    assert not [move for (before, move) in MOVES if before is CANCELLED]


def test_every_state_but_the_first_is_reached() -> None:
    assert set(MOVES.values()) == set(STORED)


def test_nothing_is_sent_but_from_a_claim() -> None:
    assert [key for key, state in MOVES.items() if state is SENDING] == [(PENDING, Move.CLAIM)]


# --- verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert succeeded(_answered(status))


@pytest.mark.parametrize("status", [100, 199, 300, 301, 304, 400, 410, 429, 500, 503, 599])
def test_no_other_status_is_success(status: int) -> None:
    assert not succeeded(_answered(status))


@pytest.mark.parametrize(
    ("outcome", "wait_ms", "expected"),
    [
        (_answered(200), 10_000, Succeed()),
        (_answered(202), None, Succeed()),
        (_answered(500), 10_000, Retry(10_000)),
        (_answered(500), None, GiveUp(Reason.EXHAUSTED)),
        (_answered(302), None, GiveUp(Reason.EXHAUSTED)),
        (_answered(500), 0, Retry(0)),
        (_answered(410), 10_000, Retry(10_000)),
        (_answered(410), None, GiveUp(Reason.EXHAUSTED, gone=True)),
        (_answered(411), None, GiveUp(Reason.EXHAUSTED)),
        *((_failed(error), 5, Retry(5)) for error in ErrorClass),
        *((_failed(error), None, GiveUp(Reason.EXHAUSTED)) for error in ErrorClass),
    ],
)
def test_verdicts(outcome: Outcome, wait_ms: int | None, expected: Verdict) -> None:
    assert verdict(outcome, wait_ms) == expected


def test_the_first_two_losses_cost_no_time_and_the_sixth_parks() -> None:
    minute = 60_000
    waits = [Retry(0), Retry(0), Retry(minute), Retry(5 * minute), Retry(30 * minute)]
    assert [verdict_of_loss(losses) for losses in range(5)] == waits
    assert len(LOSS_WAITS_MS) == 5
    assert verdict_of_loss(5) == verdict_of_loss(50) == GiveUp(Reason.CRASHED)
