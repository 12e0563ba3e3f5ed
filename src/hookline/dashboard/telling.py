"""What became of a delivery, told to a person: what happened, what it means, what happens next. Pure.

One word and one icon for each state, everywhere. Nothing here tells a member which address or rule was in the way.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, assert_never

from markupsafe import Markup, escape

from hookline.circuit import Health
from hookline.dashboard import words
from hookline.lifecycle import Reason
from hookline.model import DeliveryState, ErrorClass, InactiveReason, Subscription
from hookline.storage.views import AttemptRow, DeliveryView, Waiting


class Mark(NamedTuple):
    """How a state looks: a symbol of the sprite, a class, and its word."""

    icon: str
    look: str
    word: str


PENDING: Final = Mark("s-pending", "is-quiet", "Pending")
SENDING: Final = Mark("s-sending", "is-sending", "Sending")
RETRY: Final = Mark("s-retry", "is-retry", "Retry scheduled")
SUCCEEDED: Final = Mark("s-ok", "is-ok", "Succeeded")
DEAD: Final = Mark("s-dead", "is-dead", "Dead")
HELD: Final = Mark("s-held", "is-held", "Held")
CANCELLED: Final = Mark("s-cancelled", "is-quiet", "Cancelled")
NOT_SENT: Final = Mark("s-none", "is-quiet", "Not sent")
FAILED: Final = Mark("s-failed", "is-dead", "Failed")
LOST: Final = Mark("s-lost", "is-quiet", "Lost")
HEALTHY: Final = Mark("s-ok", "is-ok", "Healthy")
INACTIVE: Final = Mark("s-held", "is-held", "Inactive")
FAILING: Final = Mark("s-failed", "is-dead", "Failing")
PROBING: Final = Mark("s-failed", "is-dead", "Probing")

URGENCY: Final = (PROBING, FAILING, INACTIVE, HEALTHY)
"""States of a subscription, those that need somebody first."""

MARKS: Final = {
    DeliveryState.SUCCEEDED: SUCCEEDED,
    DeliveryState.SENDING: SENDING,
    DeliveryState.PENDING: PENDING,
    DeliveryState.HELD: HELD,
    DeliveryState.DEAD: DEAD,
    DeliveryState.CANCELLED: CANCELLED,
}
"""In the order in which counts are told."""


def mark(delivery: DeliveryView) -> Mark:
    """Return how a delivery looks."""
    if delivery.state is DeliveryState.PENDING and delivery.failures:
        return RETRY
    return MARKS[delivery.state]


def mark_of_attempt(attempt: AttemptRow) -> Mark:
    """Return how an attempt looks; the one that ended the delivery is final."""
    if attempt.error is None:
        return SUCCEEDED
    if attempt.error is ErrorClass.LOST:
        return LOST
    return DEAD if attempt.dead_lettered else FAILED


def counted(counts: dict[DeliveryState, int]) -> list[tuple[Mark, int]]:
    """Return the states that occur, each with its count."""
    return [(look, counts[state]) for state, look in MARKS.items() if counts.get(state)]


# --- one attempt -----------------------------------------------------------------------------------------------------

_FAMILIES: Final = {
    3: "A 3xx sends on to another address. Hookline follows no redirects: change the callback URL.",
    4: "A 4xx says that the receiver refused the request as it was. A retry sends the same body, so look there.",
    5: "A 5xx is an error inside the receiver: its own log tells more. Redeliver when it is mended.",
}
_STATUSES: Final = {
    400: "400 says that the receiver could not read the request. Does it expect another shape of the body?",
    401: "401 usually means that the signature check fails: does the receiver know the secret of this subscription?",
    403: "403 says that the receiver does not accept this caller: its firewall, its credential or its signature check.",
    404: "404 says that there is nothing at this path. Compare the callback URL with the receiver's routes.",
    405: "405 says that this path takes no POST. Compare the callback URL with the receiver's routes.",
    408: "408 says that the receiver waited too long for the request. A proxy in front of it may be overloaded.",
    410: "410 says that the receiver is gone for good. A delivery that ends so makes its subscription inactive.",
    413: "413 says that the body is too large for the receiver: raise its limit.",
    415: "415 says that the receiver does not take this content type: see `contentType` and the shape of the body.",
    422: "422 says that the receiver read the body and does not accept what it says.",
    429: "429 says that the receiver gets too much at once: set `ratePerSecond`. Its `Retry-After` is kept to.",
    500: "500 is an error inside the receiver: its own log tells more. Redeliver when it is mended.",
    502: "502 comes from a proxy in front of the receiver, which got no good answer itself.",
    503: "503 says that the receiver was overloaded or down for maintenance. Its `Retry-After` is kept to.",
    504: "504 comes from a proxy in front of the receiver, which waited too long for it.",
}
_CLASSES: Final = {
    ErrorClass.TIMEOUT: "Answer first, with any 2xx, and do the work afterwards.",
    ErrorClass.DNS: "The name of the callback URL leads nowhere: is it spelt right, and is its DNS entry public?",
    ErrorClass.CONNECT: "Is the receiver running, and does its firewall let Hookline in?",
    ErrorClass.TLS: "Mend the receiver's certificate. Hookline sends nothing to whom it cannot identify.",
    ErrorClass.BLOCKED: "Point the callback URL at a host that the internet can reach, or ask the operator.",
    ErrorClass.PROTOCOL: "Something else than a web server may answer on this port, or a proxy cuts the connection.",
    ErrorClass.OAUTH: "Nothing was sent. Look at the client id, its secret and the token URL of the credential.",
    ErrorClass.LOST: "The receiver may have seen it. It was tried again, and no retry was used for this.",
}


def answered(attempt: AttemptRow) -> str:
    """Say in a table's cell what came: `503 in 1.2 s`, `timeout after 30 s`."""
    if attempt.http_status is not None:
        return f"{attempt.http_status} in {words.span(attempt.duration_ms)}"
    return "lost" if attempt.error is ErrorClass.LOST else f"{attempt.error} after {words.span(attempt.duration_ms)}"


_IN_SHORT: Final = {
    ErrorClass.TIMEOUT: "No answer in time",
    ErrorClass.DNS: "Its name has no address",
    ErrorClass.CONNECT: "Takes no connection",
    ErrorClass.TLS: "Its certificate or TLS fails",
    ErrorClass.BLOCKED: "Its address is one that Hookline never calls",
    ErrorClass.PROTOCOL: "Answers no valid HTTP",
    ErrorClass.OAUTH: "No token from its token URL",
    ErrorClass.LOST: "Lost with the node that made it",
}


def in_short(error: str, status: int) -> str:
    """Say in a few words why attempts failed: `Answers 503`, `No answer in time`."""
    if status:
        return f"Answers {status}"
    return _IN_SHORT[ErrorClass(error)] if error in _IN_SHORT else error


def sentence(attempt: AttemptRow) -> Markup:
    """Say what came of an attempt."""
    if attempt.http_status is not None:
        return Markup("The receiver answered <strong>{}</strong> {}in {}.").format(
            attempt.http_status, _phrase(attempt.http_status), words.span(attempt.duration_ms)
        )
    if attempt.error is ErrorClass.LOST:
        return Markup("<strong>Lost</strong> when the node that made it stopped.")
    return Markup("{}").format(
        attempt.detail or f"It failed ({attempt.error}) after {words.span(attempt.duration_ms)}."
    )


def advice(attempt: AttemptRow) -> Markup:
    """Say what a failed attempt means and what can be done about it; empty where it succeeded."""
    if attempt.error is None:
        return Markup()
    if attempt.http_status is not None:
        family = _FAMILIES.get(attempt.http_status // 100, "Only a 2xx ends a delivery.")
        return with_code(_STATUSES.get(attempt.http_status, family))
    return with_code(_CLASSES.get(attempt.error, ""))


def with_code(text: str) -> Markup:
    """Set what stands between backquotes as code."""
    parts = text.split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def in_line(attempt: AttemptRow) -> str:
    """Label an attempt in few letters."""
    if attempt.http_status is not None:
        return str(attempt.http_status)
    return "no answer" if attempt.error is ErrorClass.TIMEOUT else str(attempt.error)


def _phrase(status: int) -> str:
    try:
        return f"{HTTPStatus(status).phrase} "
    except ValueError:
        return ""


# --- one delivery ----------------------------------------------------------------------------------------------------

_INACTIVE: Final = {
    InactiveReason.PAUSED: "somebody paused it",
    InactiveReason.GONE: "it answered 410 Gone",
    InactiveReason.FAILING: "nothing but failures came for days",
}
_ENDS: Final[dict[str, str]] = {
    Reason.CRASHED: "Parked: six attempts in a row were lost with the process that made them.",
    Reason.UNREADABLE: "Parked: its row in the database is damaged. The operator's log says more.",
    Reason.EXPIRED: "It was held longer than events are kept.",
    Reason.DELETED: "Its subscription was deleted.",
    Reason.ERASED: "The event's data was erased, so there was nothing left to send.",
}


def why_inactive(reason: str | None) -> str:
    """Say why a subscription is inactive, to complete a sentence."""
    return _INACTIVE[InactiveReason(reason)] if reason in set(InactiveReason) else (reason or "it was switched off")


def countdown(due_at: int | None, now: int) -> Markup:
    """Say how long until an instant, in a form that the script counts down."""
    left = max(0, (due_at or now) - now)
    if left == 0:
        return Markup("now")
    return Markup('<time datetime="{}" data-until="{}">{}</time>').format(
        words.iso(due_at or now), -(-left // 1000), words.span(-(-left // 1000) * 1000)
    )


def headline(delivery: DeliveryView) -> str:
    """Answer in a title where the delivery is."""
    count = len(delivery.attempts)
    match delivery.state:
        case DeliveryState.SUCCEEDED:
            return f"Succeeded at the {words.ordinal(max(1, count))} attempt"
        case DeliveryState.DEAD:
            return f"Dead after {words.counted(count, 'attempt')}"
        case DeliveryState.HELD:
            return "Held: the subscription is inactive"
        case DeliveryState.SENDING:
            return f"Sending: attempt {delivery.attempt} is under way"
        case DeliveryState.CANCELLED:
            return "Cancelled"
        case DeliveryState.PENDING:
            return f"Retry scheduled after {words.counted(count, 'attempt')}" if delivery.failures else "Pending"
        case _:
            assert_never(delivery.state)


def situation(delivery: DeliveryView, schedule: Sequence[int], now: int) -> Markup:  # noqa: PLR0911 - a table
    """Say in one or two sentences where a delivery is, why, and what happens next.

    `schedule` are the waits of its subscription; `now` is the clock of due times.
    """
    last = delivery.attempts[-1] if delivery.attempts else None
    match delivery.state:
        case DeliveryState.SUCCEEDED:
            which = f" at the {words.ordinal(len(delivery.attempts))} attempt" if delivery.attempts else ""
            return Markup("{}{}").format(answered(last) if last else "", which)
        case DeliveryState.DEAD if delivery.reason in _ENDS:
            return Markup("{}").format(_ENDS[delivery.reason])
        case DeliveryState.DEAD:
            return _exhausted(delivery, last)
        case DeliveryState.HELD:
            return Markup("Held since {}: the subscription is inactive, {}. Sent when it is reactivated.").format(
                words.minute(delivery.held_since or now, now), why_inactive(delivery.reason)
            )
        case DeliveryState.SENDING:
            return Markup("Attempt {} is under way.").format(delivery.attempt)
        case DeliveryState.CANCELLED:
            return Markup("{}").format(_ENDS.get(delivery.reason or "", "Nothing more is sent."))
        case DeliveryState.PENDING:
            return _pending(delivery, last, schedule, now)
        case _:
            assert_never(delivery.state)


def _exhausted(delivery: DeliveryView, last: AttemptRow | None) -> Markup:
    if last is None:
        return Markup("No retry was left. Redeliver when the receiver is mended.")
    failed = Markup("{} failed; at the last: ").format(words.counted(len(delivery.attempts), "attempt"))
    return failed + sentence(last) + Markup(" Redeliver when it is mended.")


def _pending(delivery: DeliveryView, last: AttemptRow | None, schedule: Sequence[int], now: int) -> Markup:
    next_at = countdown(delivery.due_at, now)
    if delivery.reason == Waiting.RECEIVER_FAILING:
        return Markup("The receiver only fails: waits for a probe to succeed, next in {}. No attempt is used.").format(
            next_at
        )
    if delivery.failures and last is not None:
        left = max(0, len(schedule) - delivery.failures + 1)
        return sentence(last) + Markup(
            ' Next attempt in {} <span class="nowrap">({} of {} retries left)</span>.'
        ).format(next_at, left, len(schedule))
    if delivery.due_at is not None and delivery.due_at > now:
        return Markup("Accepted, not yet tried: not before {}.").format(next_at)
    return Markup("Accepted, not yet tried: waits for its turn.")


def next_step(delivery: DeliveryView, schedule: Sequence[int], now: int) -> Markup:
    """Say what happens next with a delivery, and what a person can do."""
    match delivery.state:
        case DeliveryState.SUCCEEDED:
            return Markup(
                "Nothing: this delivery is final. If the receiver lost it, redeliver: same bytes, same "
                "<code>webhook-id</code>, a fresh schedule."
            )
        case DeliveryState.DEAD:
            return Markup(
                "Nothing by itself: this delivery is final until it is redelivered. Mend the receiver first, then "
                "redeliver: same bytes, same <code>webhook-id</code>, a fresh schedule."
            )
        case DeliveryState.HELD:
            return Markup("It waits until somebody activates the subscription, and then goes out, oldest first.")
        case DeliveryState.SENDING:
            return Markup("The attempt ends, with an answer or at its timeout. A failure is retried by itself.")
        case DeliveryState.CANCELLED:
            return Markup("Nothing: what is cancelled is not sent again.")
        case DeliveryState.PENDING:
            return _next_attempt(delivery, schedule, now)
        case _:
            assert_never(delivery.state)


def _next_attempt(delivery: DeliveryView, schedule: Sequence[int], now: int) -> Markup:
    if delivery.due_at is None or delivery.due_at <= now:
        return Markup("The next attempt starts as soon as its turn comes.")
    start = Markup("The next attempt starts in {}, at {} {}.").format(
        countdown(delivery.due_at, now), words.instant(delivery.due_at, now), words.place()
    )
    left = max(0, len(schedule) - delivery.failures)
    if not delivery.failures:
        return start
    return start + Markup(" If it fails, {}.").format(
        f"{words.counted(left, 'retry', 'retries')} more follow" if left else "the delivery is dead"
    )


# --- one subscription ------------------------------------------------------------------------------------------------


def mark_of_subscription(subscription: Subscription, health: Health) -> Mark:
    """Return how a subscription looks."""
    if not subscription.active:
        return INACTIVE
    if health.probe_at is not None:
        return PROBING
    return FAILING if health.failures else HEALTHY


class Trouble(NamedTuple):
    """What is wrong with a subscription, since when, and what happens next."""

    what: str
    since: int | None
    next: Markup


def trouble(subscription: Subscription, health: Health, lately: str, now: int) -> Trouble:
    """Say what is wrong with one that fails or is inactive; `lately` is why attempts of it failed, if known."""
    if not subscription.active:
        why = why_inactive(subscription.inactive_reason)
        return Trouble(
            f"{why[:1].upper()}{why[1:]}. Nothing is lost: deliveries are held.",
            subscription.inactive_at,
            Markup("When somebody activates it"),
        )
    in_a_row = f"{words.counted(health.failures, 'failed attempt')} in a row."
    what = f"{lately}. {in_a_row}" if lately else in_a_row
    if health.probe_at is None:
        return Trouble(what, health.failing_since, Markup("Retries by schedule"))
    is_due = health.probe_at <= now
    return Trouble(
        what,
        health.failing_since,
        Markup("Probe as soon as its turn comes")
        if is_due
        else Markup("Probe in {}").format(countdown(health.probe_at, now)),
    )


def health(subscription: Subscription, health: Health, now: int) -> Markup:
    """Say how a subscription does, and what happens next with what waits for it."""
    if not subscription.active:
        return Markup("Inactive since {}: {}. Its deliveries are held until somebody activates it.").format(
            words.minute(subscription.inactive_at or now, now), why_inactive(subscription.inactive_reason)
        )
    if not health.failures:
        return Markup("No attempt has failed since the last success.")
    failed = Markup("{} in a row, since {}. ").format(
        words.counted(health.failures, "failed attempt"), words.minute(health.failing_since or now, now)
    )
    if health.probe_at is None:
        return failed + Markup("Each delivery is retried by its schedule.")
    return failed + Markup("Waits for a probe to succeed, next in {}. No attempt is used.").format(
        countdown(health.probe_at, now)
    )
