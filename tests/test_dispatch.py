"""What a subscription's attempts and handshakes are made of, and what is recorded of a token that did not come."""

from typing import Any

import pytest
from msgspec import structs

from hookline import credentials
from hookline.dispatch import Target, Targets, Unserved
from hookline.egress.sender import Call
from hookline.egress.url import UrlRules
from hookline.model import AuthType, ErrorClass, Failed, PayloadVersion, Policies, Secret, Subscription, Timings
from hookline.sealing import Keyring
from hookline.storage.claims import Claimed

KEYRING = Keyring([b"k" * 32])
NOW = 1_767_268_800_000
DELIVERY = Claimed(
    losses=0,
    id=1,
    attempt=1,
    failures=0,
    subscription_id=7,
    subscription_revision=1,
    company_id=3,
    host="api.example.com:443",
    event_id="evt_1",
    event_type="note.created",
    type_name="note.created",
    payload_version=PayloadVersion.V1,
    source=None,
    occurred_at=NOW,
    accepted_at=NOW,
    data=b"{}",
)


def subscription(**members: Any) -> Subscription:
    plain = Subscription(
        id=7,
        company_id=3,
        revision=1,
        callback_url="https://api.example.com/in",
        event_types=None,
        payload_version=PayloadVersion.V1,
        policies=Policies(timeout_seconds=5),
        secrets=(Secret(sealed=credentials.seal_secret(7, "whsec_AAAA", KEYRING), created_at=0),),
        headers_sealed=credentials.seal_headers(7, {"X-Zone": "eu"}, KEYRING),
        created_at=0,
        updated_at=0,
    )
    return structs.replace(plain, **members)


def oauth(token_url: str) -> Subscription:
    credential = {
        "oauth2TokenUrl": token_url,
        "oauth2ClientId": "us",
        "oauth2ClientSecret": "s3cret",
        "oauth2ClientAuthenticationMethod": "CLIENT_SECRET_BASIC",
    }
    sealed = credentials.seal_auth(7, credential, KEYRING)
    return subscription(auth_type=AuthType.OAUTH2_CLIENT_CREDENTIALS, auth_sealed=sealed)


def target_of(made_of: Subscription, keyring: Keyring = KEYRING) -> Target:
    targets = Targets(keyring=keyring, rules=UrlRules(), retry_delays_seconds=(10,), timeout_seconds_max=30)
    return targets.made_of(made_of)


def test_an_attempt_that_needs_a_token_says_so_and_records_it_as_hidden() -> None:
    target = target_of(oauth("https://idp.example.com/token"))
    call = target.call(DELIVERY, NOW)
    assert isinstance(call, Call)
    assert call.grant is not None
    assert (call.grant.subscription_id, call.grant.revision, call.grant.client_secret) == (7, 1, "s3cret")
    failed = Failed(error=ErrorClass.OAUTH, detail="No.", duration_ms=1, timings=Timings())
    record = target.settlement(DELIVERY, call, failed, fraction=0.0, wall_ms=NOW).record
    assert b"\r\nX-Zone: hidden\r\nAuthorization: hidden\r\n" in record.request_head


def test_a_token_url_that_may_not_be_called_any_more_is_not_called() -> None:
    target = target_of(oauth("https://10.0.0.1/token"))
    for made in (target.call(DELIVERY, NOW), target.handshake(())):
        assert isinstance(made, Failed)
        assert (made.error, made.duration_ms) == (ErrorClass.OAUTH, 0)


def test_time_used_up_for_a_token_narrows_the_lane_like_any_timeout() -> None:
    target = target_of(oauth("https://idp.example.com/token"))
    call = target.call(DELIVERY, NOW)

    def timed_out(error: ErrorClass, duration_ms: int) -> bool:
        failed = Failed(error=error, detail="No.", duration_ms=duration_ms, timings=Timings())
        return target.settlement(DELIVERY, call, failed, fraction=0.0, wall_ms=NOW).timed_out

    assert timed_out(ErrorClass.OAUTH, 5_000)
    assert not timed_out(ErrorClass.OAUTH, 4_999)
    assert timed_out(ErrorClass.TIMEOUT, 10)
    assert not timed_out(ErrorClass.CONNECT, 5_000)


def test_a_handshake_proves_itself_like_an_attempt_and_signs_nothing() -> None:
    trust = credentials.Trust(authorities="PEM")
    target = target_of(subscription(trust_sealed=credentials.seal_trust(7, trust, KEYRING)))
    call = target.handshake((("WebHook-Request-Origin", "hooks.example.com"),))
    assert isinstance(call, Call)
    assert (call.method, call.body, call.trust, call.timeout_seconds) == ("OPTIONS", b"", trust, 5)
    assert [name for name, _ in call.headers] == ["User-Agent", "WebHook-Request-Origin", "X-Zone"]


def test_nothing_is_made_of_what_no_key_opens() -> None:
    with pytest.raises(Unserved):
        target_of(subscription(), Keyring([b"o" * 32]))
