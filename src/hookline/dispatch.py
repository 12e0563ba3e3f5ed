"""What a claimed delivery becomes: one signed request, and what is recorded of its end. No I/O.

A `Target` is a subscription made ready: secrets opened, URL parsed again under today's rules, headers laid out. It is
kept by revision, so a change counts from the next attempt on and the work is done once; only its secrets also end by
themselves, each at its time.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from hookline import __version__, credentials, lifecycle, rendering, retry, signing
from hookline.credentials import TokenRequest
from hookline.egress.sender import Call, Grant, request_head
from hookline.egress.url import CallbackUrl, UrlRefused, UrlRules, parse
from hookline.model import Answered, ErrorClass, Failed, Outcome, Subscription, Timings
from hookline.sealing import Keyring
from hookline.signing import Signer
from hookline.storage.claims import AttemptRecord, Claimed, Fence, Settlement, Unreadable

TARGETS_MAX: Final = 10_000
"""Kept ready: about 3 KB each. Past it all are forgotten and made again as needed."""

USER_AGENT: Final = f"Hookline/{__version__}"
BLOCKED: Final = "This name leads to an address that Hookline never calls."
OAUTH_BLOCKED: Final = "The token URL leads to an address that Hookline never calls."


class Target:
    """One revision of a subscription, ready to send."""

    def __init__(
        self,
        subscription: Subscription,
        *,
        keyring: Keyring,
        rules: UrlRules,
        retry_delays_seconds: Sequence[int],
        timeout_seconds_max: int,
    ) -> None:
        policies = subscription.policies
        self.revision: Final = subscription.revision
        self.schedule_seconds: Final = retry.schedule_seconds(policies.retry_delays_seconds, retry_delays_seconds)
        self._company_id = subscription.company_id
        self._url = _parsed(subscription.callback_url, rules)
        self._timeout_seconds = min(policies.timeout_seconds, timeout_seconds_max)
        self._secrets = tuple(zip(subscription.secrets, credentials.open_secrets(subscription, keyring), strict=True))
        self._signer_until = 0
        """When other secrets sign than those of the signer at hand."""
        extra = credentials.open_headers(subscription, keyring)
        credential = credentials.open_auth(subscription, keyring)
        self._trust = credentials.open_trust(subscription, keyring)
        self._grant: Grant | None = None
        self._is_token_url_refused = False
        if isinstance(credential, TokenRequest):
            self._grant = _grant(subscription, credential, rules)
            self._is_token_url_refused = self._grant is None
        elif credential:
            extra.append(credential)
        self._extra = tuple(extra)
        self.hidden_names: Final = frozenset(name.lower() for name, _ in self._extra)
        self._media_type = rendering.media_type(subscription.payload_version, policies.content_type)

    def call(self, delivery: Claimed, wall_ms: int) -> Call | Failed:
        """Return the request of this attempt; `Failed` where the URL may not be called under today's rules.

        Raises `rendering.NotJson` where the event's data is damaged.
        """
        if self._url is None:
            return _refused(ErrorClass.BLOCKED, BLOCKED)
        if self._is_token_url_refused:
            return _refused(ErrorClass.OAUTH, OAUTH_BLOCKED)
        body = rendering.body(
            delivery.payload_version,
            type_name=delivery.type_name,
            source=delivery.source,
            event_id=delivery.event_id,
            occurred_at=delivery.occurred_at,
            data=delivery.data,
        )
        if wall_ms >= self._signer_until:
            self._renew_signer(wall_ms)
        timestamp = wall_ms // 1000
        return Call(
            company_id=self._company_id,
            url=self._url,
            headers=(
                ("Content-Type", self._media_type),
                ("User-Agent", USER_AGENT),
                ("X-Hub-Signature-256", self._signer.hub_signature(body)),
                ("webhook-id", delivery.event_id),
                ("webhook-timestamp", str(timestamp)),
                ("webhook-signature", self._signer.standard_signature(delivery.event_id, timestamp, body)),
                ("Hookline-Attempt", str(delivery.attempt)),
                *self._extra,
            ),
            body=body,
            timeout_seconds=self._timeout_seconds,
            trust=self._trust,
            grant=self._grant,
        )

    def handshake(self, headers: tuple[tuple[str, str], ...]) -> Call | Failed:
        """Return an OPTIONS request that proves itself as an attempt does; `Failed` where nothing may be called."""
        if self._url is None:
            return _refused(ErrorClass.BLOCKED, BLOCKED)
        if self._is_token_url_refused:
            return _refused(ErrorClass.OAUTH, OAUTH_BLOCKED)
        return Call(
            company_id=self._company_id,
            url=self._url,
            headers=(("User-Agent", USER_AGENT), *headers, *self._extra),
            body=b"",
            timeout_seconds=self._timeout_seconds,
            method="OPTIONS",
            trust=self._trust,
            grant=self._grant,
        )

    def settlement(
        self, delivery: Claimed, call: Call | Failed, outcome: Outcome, *, fraction: float, wall_ms: int
    ) -> Settlement:
        """Return what is to be recorded of the attempt that ended at `wall_ms`; `fraction` picks a retry's jitter."""
        next_wait_ms = retry.next_wait_ms(self.schedule_seconds, delivery.failures, fraction)
        return Settlement(
            fence=fence_of(delivery),
            subscription_revision=self.revision,
            verdict=lifecycle.verdict(outcome, next_wait_ms),
            record=self._record(call, outcome),
            answered=isinstance(outcome, Answered),
            timed_out=isinstance(outcome, Failed) and self._timed_out(outcome),
            hold_ms=_hold_ms(outcome, wall_ms),
        )

    def _timed_out(self, failed: Failed) -> bool:
        """Tell whether the attempt used up its time, be it for a token."""
        is_slow = failed.duration_ms >= self._timeout_seconds * 1000
        return failed.error is ErrorClass.TIMEOUT or (failed.error is ErrorClass.OAUTH and is_slow)

    def _renew_signer(self, now: int) -> None:
        live = [(secret, shown) for secret, shown in self._secrets if signing.is_live(secret, now)]
        secrets, shown = [secret for secret, _ in live], [text for _, text in live]
        self._signer = Signer(shown, shown[signing.hub_index(secrets, now)])
        self._signer_until = signing.unchanged_until(secrets, now)

    def _record(self, call: Call | Failed, outcome: Outcome) -> AttemptRecord:
        head = request_head(call, self.hidden_names) if isinstance(call, Call) else b""
        match outcome:
            case Answered():
                return AttemptRecord(
                    http_status=outcome.status,
                    error=None if lifecycle.succeeded(outcome) else ErrorClass.STATUS,
                    detail=None,
                    duration_ms=outcome.duration_ms,
                    timings=outcome.timings,
                    request_head=head,
                    response_head=outcome.head,
                    response_body=outcome.body,
                )
            case Failed():
                return AttemptRecord(
                    http_status=None,
                    error=outcome.error,
                    detail=outcome.detail,
                    duration_ms=outcome.duration_ms,
                    timings=outcome.timings,
                    request_head=head,
                    response_head=None,
                    response_body=None,
                )


def fence_of(delivery: Claimed) -> Fence:
    """Return what its settlement will be checked against."""
    return Fence(
        delivery_id=delivery.id,
        subscription_id=delivery.subscription_id,
        company_id=delivery.company_id,
        attempt=delivery.attempt,
    )


class Unserved(Exception):
    """This node can make no attempt for a subscription: its row is damaged, or no key at hand opens its secrets."""


class Targets:
    """The targets at hand, by subscription."""

    def __init__(
        self, *, keyring: Keyring, rules: UrlRules, retry_delays_seconds: Sequence[int], timeout_seconds_max: int
    ) -> None:
        self._keyring = keyring
        self._rules = rules
        self._retry_delays_seconds = retry_delays_seconds
        self._timeout_seconds_max = timeout_seconds_max
        self._subscriptions: dict[int, Subscription | Unreadable] = {}
        self._targets: dict[int, Target] = {}
        self._known: dict[int, int] = {}

    @property
    def known(self) -> Mapping[int, int]:
        """The revision at hand of each subscription; asked before each claim, so here too many are forgotten."""
        if len(self._known) > TARGETS_MAX:
            self._subscriptions.clear()
            self._targets.clear()
            self._known.clear()
        return self._known

    def learn(self, subscriptions: Mapping[int, Subscription | Unreadable]) -> None:
        """Take what a claim brought; a later revision replaces an earlier one."""
        for subscription_id, subscription in subscriptions.items():
            self._forget(subscription_id)
            self._subscriptions[subscription_id] = subscription
            if isinstance(subscription, Subscription):
                self._known[subscription_id] = subscription.revision

    def of(self, delivery: Claimed) -> Target:
        """Return the delivery's target, made on first use; raise `Unserved` where none can be made.

        Then the subscription is forgotten, so that the next claim reads again what may have been mended.
        """
        target = self._targets.get(delivery.subscription_id)
        if target is None:
            try:
                target = self._made(self._subscriptions[delivery.subscription_id])
            except Exception as error:
                self._forget(delivery.subscription_id)
                raise Unserved(str(error) or type(error).__name__) from error
            self._targets[delivery.subscription_id] = target
        return target

    def made_of(self, subscription: Subscription) -> Target:
        """Return a target that is not kept; raise `Unserved` where none can be made."""
        try:
            return self._made(subscription)
        except Exception as error:
            raise Unserved(str(error) or type(error).__name__) from error

    def _made(self, subscription: Subscription | Unreadable) -> Target:
        if isinstance(subscription, Unreadable):
            raise Unserved(f"its row is damaged: {subscription.problem}")
        return Target(
            subscription,
            keyring=self._keyring,
            rules=self._rules,
            retry_delays_seconds=self._retry_delays_seconds,
            timeout_seconds_max=self._timeout_seconds_max,
        )

    def _forget(self, subscription_id: int) -> None:
        self._subscriptions.pop(subscription_id, None)
        self._known.pop(subscription_id, None)
        self._targets.pop(subscription_id, None)


def _refused(error: ErrorClass, detail: str) -> Failed:
    return Failed(error=error, detail=detail, duration_ms=0, timings=Timings())


def _grant(subscription: Subscription, request: TokenRequest, rules: UrlRules) -> Grant | None:
    """Return what a token is asked for with; None where its URL may not be called under today's rules."""
    url = _parsed(request.url, rules)
    if url is None:
        return None
    return Grant(
        subscription_id=subscription.id,
        revision=subscription.revision,
        token_url=url,
        client_id=request.client_id,
        client_secret=request.client_secret,
        authentication=request.authentication,
        scope=request.scope,
    )


def _parsed(url: str, rules: UrlRules) -> CallbackUrl | None:
    try:
        return parse(url, rules)
    except UrlRefused:
        return None


def _hold_ms(outcome: Outcome, wall_ms: int) -> int | None:
    return retry.hold_ms(outcome.status, outcome.retry_after, wall_ms) if isinstance(outcome, Answered) else None
