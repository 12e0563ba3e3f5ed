"""From what a member says to a subscription as it is stored: every policy by table, every secret sealed."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest
import trustme
from msgspec import structs

from hookline import credentials, subscribing
from hookline.egress.url import UrlRules
from hookline.errors import Invalid
from hookline.model import AuthType, EventType, PayloadVersion, Subscription, TypeKind
from hookline.sealing import Keyring, Unsealable
from hookline.storage.publications import Catalogue
from hookline.subscribing import Rules, SubscriptionRequest

URL = "https://api.example.com/hooks"
NOW, LATER = 1_000, 2_000
SHAPES = (PayloadVersion.V1, PayloadVersion.STANDARD, PayloadVersion.RAW)
CATALOGUE = Catalogue(
    revision=1,
    types={
        each.name: each
        for each in (
            EventType(name="note.created", v1_name="note.created", v2_name="org.note.created"),
            EventType(name="order.paid", v1_name="orderPaid", v2_name="order.paid"),
            EventType(name="case.closed", v1_name=None, v2_name="org.case.closed"),
            EventType(name="webhook.ping", v1_name="webhook.ping", v2_name="org.ping", kind=TypeKind.PING),
        )
    },
)
KEYRING = Keyring([b"k" * 32])
RULES = Rules(url_rules=UrlRules(), keyring=KEYRING, timeout_seconds_max=30, shows_settings=False)
DEVELOPMENT = structs.replace(RULES, url_rules=UrlRules(allow_http=True, allow_loopback=True))


def said(members: dict[str, Any]) -> SubscriptionRequest:
    return msgspec.json.decode(msgspec.json.encode(members), type=SubscriptionRequest)


def create(members: dict[str, Any] | None = None, rules: Rules = RULES) -> Subscription:
    return create_with_secret({"callbackUrl": URL, **(members or {})}, rules)[0]


def create_with_secret(members: dict[str, Any], rules: Rules = RULES) -> tuple[Subscription, str]:
    return subscribing.created(
        said(members),
        subscription_id=7,
        company_id=3,
        shapes=SHAPES,
        catalogue=CATALOGUE,
        rules=rules,
        random_bytes=lambda count: b"r" * count,
        now=NOW,
    )


def change(subscription: Subscription, members: dict[str, Any], rules: Rules = RULES) -> Subscription:
    return subscribing.changed(subscription, said(members), CATALOGUE, rules, now=LATER)


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(Invalid) as caught:
        act()
    return caught.value.fields[0].field


def basic(**members: Any) -> dict[str, Any]:
    return {"callbackAuth": {"type": "BASIC", "username": "ann", "password": "pw", **members}}


def oauth(**members: Any) -> dict[str, Any]:
    return {
        "type": "OAUTH2_CLIENT_CREDENTIALS",
        "oauth2TokenUrl": "https://idp.example.com/token",
        "oauth2ClientId": "us",
        "oauth2ClientSecret": "s3cret",
        **members,
    }


# --- creation --------------------------------------------------------------------------------------------------------


def test_a_url_alone_makes_a_subscription_of_defaults() -> None:
    subscription, secret = create_with_secret({"callbackUrl": URL})
    assert (subscription.callback_url, subscription.event_types, subscription.active) == (URL, None, True)
    assert (subscription.payload_version, subscription.auth_type) == (PayloadVersion.V1, AuthType.NONE)
    assert (subscription.revision, subscription.created_at, subscription.updated_at) == (1, NOW, NOW)
    policies = subscription.policies
    assert (policies.retry_delays_seconds, policies.timeout_seconds, policies.max_in_flight) == (None, 30, 10)
    assert credentials.open_secrets(subscription, KEYRING) == [secret]
    assert secret.startswith("whsec_")
    assert secret.encode() not in subscription.secrets[0].sealed


def test_the_url_is_required() -> None:
    assert refused(lambda: create_with_secret({})) == "callbackUrl"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shape_is_chosen_at_creation(shape: PayloadVersion) -> None:
    assert create({"payloadVersion": shape}).payload_version is shape


@pytest.mark.parametrize("shape", ["V2", "v1", "", "V3"])
def test_other_shapes_are_refused(shape: str) -> None:
    assert refused(lambda: create({"payloadVersion": shape})) == "payloadVersion"


@pytest.mark.parametrize("shape", ["V1", "RAW", None])
def test_the_shape_never_changes(shape: str | None) -> None:
    assert refused(lambda: change(create(), {"payloadVersion": shape})) == "payloadVersion"


# --- event types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [{}, {"eventTypes": None}, {"eventTypes": []}])
def test_no_types_means_every_one(members: dict[str, Any]) -> None:
    assert create(members).event_types is None


@pytest.mark.parametrize(
    ("shape", "names", "stored"),
    [
        ("V1", ["orderPaid", "note.created", "orderPaid"], ("orderPaid", "note.created")),
        ("V1", ["webhook.ping"], ("webhook.ping",)),
        ("STANDARD", ["order.paid", "case.closed"], ("order.paid", "case.closed")),
    ],
)
def test_types_are_asked_for_by_the_names_that_the_shape_sees(
    shape: str, names: list[str], stored: tuple[str, ...]
) -> None:
    assert create({"payloadVersion": shape, "eventTypes": names}).event_types == stored


@pytest.mark.parametrize(
    ("shape", "name", "message"),
    [
        ("V1", "order.paid", "know order.paid as orderPaid"),
        ("V1", "case.closed", "case.closed is never sent to subscriptions of payload version V1"),
        ("RAW", "orderPaid", "there is no event type orderPaid"),
        ("V1", "note.craeted", "Did you mean note.created?"),
        ("V1", "invoice.paid", "`PUT /v1/event-types/invoice.paid` {}"),
        ("V1", "", "is no name of an event type"),
    ],
)
def test_a_type_that_cannot_be_asked_for_says_why(shape: str, name: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        create({"payloadVersion": shape, "eventTypes": ["note.created", name]})
    (error,) = caught.value.fields
    assert error.field == "eventTypes[1]"
    assert message in error.message


def test_few_of_many_unknown_types_are_named() -> None:
    with pytest.raises(Invalid) as caught:
        create({"eventTypes": [f"unknown.{number}" for number in range(1000)]})
    assert len(caught.value.fields) == 20
    assert refused(lambda: create({"eventTypes": ["note.created"] * 1001})) == "eventTypes"


# --- policies --------------------------------------------------------------------------------------------------------

GOOD = [
    ("retryDelaysSeconds", [], "retry_delays_seconds", ()),
    ("retryDelaysSeconds", [1, 86_400], "retry_delays_seconds", (1, 86_400)),
    ("retryDelaysSeconds", [5] * 20, "retry_delays_seconds", (5,) * 20),
    ("retryDelaysSeconds", "days", "retry_delays_seconds", "days"),
    ("retryDelaysSeconds", "standard", "retry_delays_seconds", "standard"),
    ("timeoutSeconds", 1, "timeout_seconds", 1),
    ("timeoutSeconds", 30, "timeout_seconds", 30),
    ("maxInFlight", 1, "max_in_flight", 1),
    ("maxInFlight", 100, "max_in_flight", 100),
    ("contentType", "application/json", "content_type", "application/json"),
    ("headers", {"X-Zone": "eu"}, "header_names", ("X-Zone",)),
]


@pytest.mark.parametrize(("member", "value", "name", "stored"), GOOD)
def test_a_policy_is_kept_as_given_until_null_restores_its_default(
    member: str, value: object, name: str, stored: object
) -> None:
    subscription = create({member: value})
    assert getattr(subscription.policies, name) == stored
    untouched = change(subscription, {"callbackUrl": URL + "/2"})
    assert getattr(untouched.policies, name) == stored
    assert change(subscription, {member: None}).policies == create().policies
    assert getattr(change(create(), {member: value}).policies, name) == stored


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("retryDelaysSeconds", [5] * 21),
        ("retryDelaysSeconds", "weekly"),
        ("retryDelaysSeconds", ""),
        ("timeoutSeconds", 0),
        ("timeoutSeconds", 31),
        ("contentType", "application/cloudevents+json"),
        ("contentType", "text/plain"),
        ("headers", {f"X-{number}": "a" for number in range(17)}),
        ("headers", {"X-A": "1", "x-a": "2"}),
        ("headers", {"x-a": "1", "X-A": "2"}),
        ("headers", {"Authorization": "Bearer a"}),
        ("headers", {"": "a"}),
        ("headers", {"X A": "a"}),
        ("headers", {"X-A:": "a"}),
        ("headers", {"X-Ä": "a"}),
        ("headers", {"X\r\nEvil": "a"}),
    ],
)
def test_a_policy_out_of_its_range_is_refused_by_name(member: str, value: object) -> None:
    assert refused(lambda: create({member: value})) == member
    assert refused(lambda: change(create(), {member: value})) == member


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("retryDelaysSeconds", [0]),
        ("retryDelaysSeconds", [86_401]),
        ("retryDelaysSeconds", [1.5]),
        ("timeoutSeconds", "5"),
        ("maxInFlight", 0),
        ("maxInFlight", 101),
        ("headers", {"X-A": 1}),
        ("active", "yes"),
        ("callbackUrl", None),
    ],
)
def test_a_member_of_another_type_does_not_decode(member: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=member):
        said({member: value})


RESERVED = [
    *("Host", "content-type", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer"),
    *("Upgrade", "Expect", "User-Agent", "Accept-Encoding", "Cookie", "Proxy-Authorization", "X-Hub-Signature-256"),
    *("webhook-id", "Webhook-Signature", "Hookline-Attempt"),
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_header_that_is_ours_or_of_http_is_refused_wherever_it_is_given(name: str) -> None:
    assert refused(lambda: create({"headers": {name: "a"}})) == "headers"
    auth = {"type": "HEADER", "headerName": name, "headerValue": "a"}
    assert refused(lambda: create({"callbackAuth": auth})) == "callbackAuth.headerName"


@pytest.mark.parametrize("value", ["", " a", "a ", "a\r\nEvil: b", "a\x00", "\x7f", "ä", "a" * 2049])
def test_a_header_value_is_visible_ascii(value: str) -> None:
    assert refused(lambda: create({"headers": {"X-A": value}})) == "headers.X-A"
    auth = {"type": "HEADER", "headerName": "X-A", "headerValue": value}
    assert refused(lambda: create({"callbackAuth": auth})) == "callbackAuth.headerValue"


def test_header_values_are_sealed_and_replaced_as_a_whole() -> None:
    subscription = create({"headers": {"X-Zone": "europe", "X-Tier": "gold"}})
    assert subscription.headers_sealed is not None
    assert b"europe" not in subscription.headers_sealed
    assert credentials.open_headers(subscription, KEYRING) == [("X-Zone", "europe"), ("X-Tier", "gold")]
    changed = change(subscription, {"headers": {"X-New": "1"}})
    assert credentials.open_headers(changed, KEYRING) == [("X-New", "1")]
    assert change(subscription, {"headers": None}).headers_sealed is None


# --- the credential --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "BASIC", "username": "ann", "password": "pw"}, ("Authorization", "Basic YW5uOnB3")),
        ({"type": "BEARER", "token": "t0k"}, ("Authorization", "Bearer t0k")),
        ({"type": "HEADER", "headerName": "Authorization", "headerValue": "Key 1"}, ("Authorization", "Key 1")),
        ({"type": "NONE"}, None),
        ({"type": "NONE", "username": "", "password": "", "oauth2Scope": "", "oauth2TokenUrl": None}, None),
        (None, None),
    ],
)
def test_a_credential_is_sealed_and_reads_as_its_header(
    auth: dict[str, Any] | None, header: tuple[str, str] | None
) -> None:
    subscription = create({"callbackAuth": auth})
    assert subscription.auth_type == (auth or {"type": "NONE"})["type"]
    assert credentials.open_auth(subscription, KEYRING) == header


@pytest.mark.parametrize(
    ("members", "method", "scope"),
    [
        ({}, "CLIENT_SECRET_BASIC", None),
        ({"oauth2ClientAuthenticationMethod": None}, "CLIENT_SECRET_BASIC", None),
        ({"oauth2ClientAuthenticationMethod": "CLIENT_SECRET_POST", "oauth2Scope": "a b"}, "CLIENT_SECRET_POST", "a b"),
    ],
)
def test_a_token_request_is_sealed_and_opens_as_it_was_given(
    members: dict[str, Any], method: str, scope: str | None
) -> None:
    subscription = create({"callbackAuth": oauth(**members)})
    assert subscription.auth_sealed is not None
    assert b"s3cret" not in subscription.auth_sealed
    request = credentials.open_auth(subscription, KEYRING)
    assert isinstance(request, credentials.TokenRequest)
    assert (request.url, request.client_id, request.client_secret) == ("https://idp.example.com/token", "us", "s3cret")
    assert (request.authentication, request.scope) == (method, scope)


def test_a_token_over_plain_http_is_for_development() -> None:
    assert create({"callbackAuth": oauth(oauth2TokenUrl="http://localhost:8/t")}, DEVELOPMENT).auth_sealed


def test_null_takes_the_credential_away() -> None:
    changed = change(create(basic()), {"callbackAuth": None})
    assert (changed.auth_type, changed.auth_sealed) == (AuthType.NONE, None)


@pytest.mark.parametrize(
    ("auth", "field"),
    [
        ({}, "type"),
        ({"type": None}, "type"),
        ({"type": "basic"}, "type"),
        ({"type": []}, "type"),
        ({"type": "BASIC", "username": "a"}, "password"),
        ({"type": "BASIC", "username": "", "password": "b"}, "username"),
        ({"type": "BASIC", "username": "a:b", "password": "b"}, "username"),
        ({"type": "BASIC", "username": "a\n", "password": "b"}, "username"),
        ({"type": "BASIC", "username": 1, "password": "b"}, "username"),
        ({"type": "BEARER"}, "token"),
        ({"type": "BEARER", "token": "a\r\nb"}, "token"),
        ({"type": "BEARER", "token": "ä"}, "token"),
        ({"type": "BEARER", "token": "a" * 4097}, "token"),
        ({"type": "HEADER", "headerName": "X-A"}, "headerValue"),
        ({"type": "BEARER", "token": "a", "oauth2Scope": ""}, "oauth2Scope"),
        ({"type": "BEARER", "token": "a", "oauth2Scope": None}, "oauth2Scope"),
        ({"type": "OAUTH2_CLIENT_CREDENTIALS"}, "oauth2TokenUrl"),
        (oauth(oauth2TokenUrl="https://10.0.0.1/token"), "oauth2TokenUrl"),
        (oauth(oauth2TokenUrl="http://idp.example.com/token"), "oauth2TokenUrl"),
        (oauth(oauth2TokenUrl="https://idp/token"), "oauth2TokenUrl"),
        (oauth(oauth2TokenUrl=7), "oauth2TokenUrl"),
        (oauth(oauth2ClientId=""), "oauth2ClientId"),
        (oauth(oauth2ClientSecret=None), "oauth2ClientSecret"),
        (oauth(oauth2ClientAuthenticationMethod="private_key_jwt"), "oauth2ClientAuthenticationMethod"),
        (oauth(oauth2ClientAuthenticationMethod=[]), "oauth2ClientAuthenticationMethod"),
        (oauth(oauth2Scope=""), "oauth2Scope"),
        (oauth(oauth2Scope=None), "oauth2Scope"),
        (oauth(oauth2Scope=[]), "oauth2Scope"),
        (oauth(oauth2Scope="a  b"), "oauth2Scope"),
        (oauth(oauth2Scope='a"'), "oauth2Scope"),
    ],
)
def test_a_credential_that_is_none_names_its_member(auth: dict[str, Any], field: str) -> None:
    assert refused(lambda: create({"callbackAuth": auth})) == f"callbackAuth.{field}"


def test_a_credential_is_never_sent_in_clear() -> None:
    plain_http = structs.replace(RULES, url_rules=UrlRules(allow_http=True))
    http = {"callbackUrl": "http://api.example.com/"}
    assert refused(lambda: create({**http, **basic()}, plain_http)) == "callbackAuth"
    assert refused(lambda: change(create(basic()), http, plain_http)) == "callbackAuth"
    assert refused(lambda: change(create(http, plain_http), basic(), plain_http)) == "callbackAuth"
    assert create({**http, **basic()}, DEVELOPMENT).auth_type is AuthType.BASIC
    assert create({"callbackUrl": "HTTPS://api.example.com/", **basic()}).auth_type is AuthType.BASIC


def test_one_header_has_one_value() -> None:
    auth = {"callbackAuth": {"type": "HEADER", "headerName": "X-Key", "headerValue": "a"}}
    assert refused(lambda: create({**auth, "headers": {"x-key": "b"}})) == "headers"
    assert refused(lambda: change(create({"headers": {"x-key": "b"}}), auth)) == "headers"
    assert refused(lambda: change(create(auth), {"headers": {"x-key": "b"}})) == "headers"


def test_what_cannot_be_opened_any_more_can_still_be_paused() -> None:
    other_key = structs.replace(RULES, keyring=Keyring([b"o" * 32]))
    assert not change(create(basic()), {"active": False}, other_key).active


# --- the URL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://api.example.com/", "https://10.0.0.1/", "https://localhost/", "", "no url", "https://a.example/#f"]
)
def test_a_url_that_is_not_plainly_right_is_refused(url: str) -> None:
    assert refused(lambda: create({"callbackUrl": url})) == "callbackUrl"
    assert refused(lambda: change(create(), {"callbackUrl": url})) == "callbackUrl"


def test_only_an_operator_hears_which_setting_would_allow_it() -> None:
    for shows_settings in (False, True):
        with pytest.raises(Invalid) as caught:
            create({"callbackUrl": "http://api.example.com/"}, structs.replace(RULES, shows_settings=shows_settings))
        assert ("HOOKLINE_ALLOW_HTTP" in str(caught.value)) is shows_settings
        assert ("HOOKLINE_ALLOW_HTTP" in caught.value.fields[0].message) is shows_settings


# --- on and off ------------------------------------------------------------------------------------------------------


def test_a_change_raises_the_revision_and_touches_what_it_names() -> None:
    before = create({"timeoutSeconds": 5, "headers": {"X-A": "1"}, **basic()})
    after = change(before, {"eventTypes": ["note.created"]})
    assert after == structs.replace(before, event_types=("note.created",), revision=2, updated_at=LATER)


def test_pausing_and_resuming_keep_their_moment() -> None:
    paused = change(create(), {"active": False})
    assert (paused.active, paused.inactive_reason, paused.inactive_at) == (False, "paused", LATER)
    again = subscribing.changed(paused, said({"active": False}), CATALOGUE, RULES, now=3_000)
    assert again.inactive_at == LATER, "held since when it was paused first"
    for value in (True, None):
        resumed = change(paused, {"active": value})
        assert (resumed.active, resumed.inactive_reason, resumed.inactive_at) == (True, None, None)


def test_rate_and_order_are_taken_and_null_restores_their_defaults() -> None:
    made = create({"ratePerSecond": 5, "ordered": True})
    assert (made.policies.rate_per_second, made.policies.ordered) == (5, True)
    assert change(made, {"ratePerSecond": None, "ordered": None}).policies == create().policies


# --- validation ------------------------------------------------------------------------------------------------------


def test_validation_is_by_the_handshake_of_cloudevents_or_none() -> None:
    made = create({"validation": "CLOUDEVENTS"})
    assert made.policies.validation == "CLOUDEVENTS"
    assert change(made, {"timeoutSeconds": 5}).policies.validation == "CLOUDEVENTS"
    assert change(made, {"validation": None}).policies == create().policies
    assert refused(lambda: create({"validation": "cloudevents"})) == "validation"


# --- certificates ----------------------------------------------------------------------------------------------------

AUTHORITY = trustme.CA()
BUNDLE = AUTHORITY.cert_pem.bytes().decode()


def own_certificate() -> dict[str, str]:
    leaf = AUTHORITY.issue_cert("us@example.com", not_before=datetime(2020, 1, 1), not_after=datetime(2050, 1, 1))  # noqa: DTZ001
    return {
        "certificate": leaf.cert_chain_pems[0].bytes().decode(),
        "privateKey": leaf.private_key_pem.bytes().decode(),
    }


def test_certificates_are_sealed_and_of_them_only_subject_and_expiry_are_kept_in_clear() -> None:
    own = own_certificate()
    subscription = create({"clientCertificate": own, "caCertificate": BUNDLE})
    trust = credentials.Trust(certificate=own["certificate"], private_key=own["privateKey"], authorities=BUNDLE)
    assert credentials.open_trust(subscription, KEYRING) == trust
    assert subscription.trust_sealed is not None
    assert b"PRIVATE KEY" not in subscription.trust_sealed
    assert subscription.policies.client_certificate is not None
    assert subscription.policies.client_certificate.expires_at == 2_524_608_000_000
    assert len(subscription.policies.ca_certificates or ()) == 1


def test_each_of_the_two_is_changed_and_taken_away_by_itself() -> None:
    own = own_certificate()
    both = create({"clientCertificate": own, "caCertificate": BUNDLE})
    without_bundle = change(both, {"caCertificate": None})
    trust = credentials.open_trust(without_bundle, KEYRING)
    assert trust == credentials.Trust(certificate=own["certificate"], private_key=own["privateKey"])
    assert (without_bundle.policies.ca_certificates, without_bundle.policies.client_certificate) == (
        None,
        both.policies.client_certificate,
    )
    without_own = change(both, {"clientCertificate": None})
    assert credentials.open_trust(without_own, KEYRING) == credentials.Trust(authorities=BUNDLE)
    assert without_own.policies.client_certificate is None
    assert change(without_own, {"caCertificate": None}).trust_sealed is None
    assert change(both, {"timeoutSeconds": 5}).trust_sealed == both.trust_sealed


def test_certificates_are_for_https() -> None:
    http = {"callbackUrl": "http://localhost:9000/"}
    assert refused(lambda: create({**http, "clientCertificate": own_certificate()}, DEVELOPMENT)) == "clientCertificate"
    assert refused(lambda: create({**http, "caCertificate": BUNDLE}, DEVELOPMENT)) == "caCertificate"
    assert refused(lambda: change(create({"caCertificate": BUNDLE}), http, DEVELOPMENT)) == "caCertificate"


def test_what_was_sealed_as_trust_opens_for_its_own_subscription_alone() -> None:
    moved = structs.replace(create({"caCertificate": BUNDLE}), id=8)
    with pytest.raises(Unsealable):
        credentials.open_trust(moved, KEYRING)
