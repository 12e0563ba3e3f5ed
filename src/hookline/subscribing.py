"""From what a member says to a subscription as it is stored: every policy checked, every secret sealed. No I/O.

A request names some members of a subscription: an absent one stays as it is (at creation: takes its default), `null`
restores the default.
"""

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs

from hookline import certificates, credentials, filtering, matching, rate, retry, signing
from hookline.credentials import Trust
from hookline.drafting import DIRECTIONS, ERRORS_MAX, Int
from hookline.egress.url import CallbackUrl, UrlRefused, UrlRules, parse
from hookline.errors import FieldError, Invalid
from hookline.model import (
    AuthType,
    ClientAuthentication,
    InactiveReason,
    PayloadVersion,
    Policies,
    Secret,
    Subscription,
    Validation,
)
from hookline.publishing import unknown_type
from hookline.rendering import CLOUDEVENTS, JSON
from hookline.sealing import Keyring
from hookline.storage.publications import Catalogue

HEADERS_MAX: Final = 16
HEADER_VALUE_CHARACTERS_MAX: Final = 2_048
EVENT_TYPES_MAX: Final = 1_000
PARTNERS_MAX: Final = 1_000
CREDENTIAL_CHARACTERS_MAX: Final = 4_096
MAX_IN_FLIGHT_MAX: Final = 100

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
"""A field name: RFC 9110, 5.6.2."""
_VALUE: Final = re.compile(r"[!-~](?:[ \t!-~]*[!-~])?")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")
_RESERVED_NAMES: Final = frozenset(
    {
        *("host", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"),
        *("user-agent", "accept-encoding", "cookie"),
    }
)
_RESERVED_PREFIXES: Final = ("content-", "proxy-", "x-hub-", "webhook-", "hookline-")

Given = UnsetType | None
"""What a member may be besides its value: absent, or null for the default."""


class ClientCertificate(Struct, frozen=True, kw_only=True, rename="camel"):
    """What we show to the receiver, in PEM."""

    certificate: str
    private_key: str


class SubscriptionRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of POST and PATCH, as far as its types go."""

    callback_url: str | UnsetType = UNSET
    event_types: list[str] | Given = UNSET
    callback_auth: dict[str, Any] | Given = UNSET
    payload_version: str | Given = UNSET
    active: bool | Given = UNSET
    retry_delays_seconds: list[Annotated[int, Meta(ge=1, le=retry.WAIT_SECONDS_MAX)]] | str | Given = UNSET
    timeout_seconds: int | Given = UNSET
    max_in_flight: Annotated[int, Meta(ge=1, le=MAX_IN_FLIGHT_MAX)] | Given = UNSET
    content_type: str | Given = UNSET
    headers: dict[str, str] | Given = UNSET
    rate_per_second: Annotated[int, Meta(ge=1, le=rate.RATE_MAX)] | Given = UNSET
    ordered: bool | Given = UNSET
    filter: Raw | UnsetType = UNSET
    case_directions: list[str] | Given = UNSET
    partner_company_ids: list[Int] | Given = UNSET
    client_certificate: ClientCertificate | Given = UNSET
    ca_certificate: str | Given = UNSET
    validation: str | Given = UNSET


class Rules(Struct, frozen=True, kw_only=True):
    """What a request is judged by."""

    url_rules: UrlRules
    keyring: Keyring
    timeout_seconds_max: int
    shows_settings: bool
    """Whether a refused URL may name the setting that would allow it: to operators only."""


# --- the two changes -------------------------------------------------------------------------------------------------


def created(
    request: SubscriptionRequest,
    *,
    subscription_id: int,
    company_id: int,
    shapes: tuple[PayloadVersion, ...],
    catalogue: Catalogue,
    rules: Rules,
    random_bytes: Callable[[int], bytes],
    now: int,
) -> tuple[Subscription, str]:
    """Return the new subscription and its secret as it is shown once; raise `Invalid`."""
    if request.callback_url is UNSET:
        raise Invalid.field("callbackUrl", "is required.")
    secret = signing.new_secret(random_bytes(signing.SECRET_BYTES))
    blank = Subscription(
        id=subscription_id,
        company_id=company_id,
        revision=0,
        callback_url="",
        event_types=None,
        payload_version=_shape(request.payload_version, shapes),
        policies=Policies(),
        secrets=(Secret(sealed=credentials.seal_secret(subscription_id, secret, rules.keyring), created_at=now),),
        created_at=now,
        updated_at=now,
    )
    return changed(blank, structs.replace(request, payload_version=UNSET), catalogue, rules, now=now), secret


def changed(
    subscription: Subscription, request: SubscriptionRequest, catalogue: Catalogue, rules: Rules, *, now: int
) -> Subscription:
    """Return the subscription as the request wants it, its revision raised; raise `Invalid`."""
    if request.payload_version is not UNSET:
        raise Invalid.field("payloadVersion", "is fixed at creation. Create another subscription for another shape.")
    changed = structs.replace(
        subscription,
        revision=subscription.revision + 1,
        updated_at=now,
        policies=_policies(subscription, request, rules),
    )
    if request.callback_url is not UNSET:
        changed = structs.replace(changed, callback_url=_url("callbackUrl", request.callback_url, rules).text)
    if request.event_types is not UNSET:
        event_types = _event_types(request.event_types, subscription.payload_version, catalogue)
        changed = structs.replace(changed, event_types=event_types)
    if request.headers is not UNSET:
        sealed = credentials.seal_headers(subscription.id, _headers(request.headers or {}), rules.keyring)
        changed = structs.replace(changed, headers_sealed=sealed)
    if request.callback_auth is not UNSET:
        auth_type, credential = _auth(
            {"type": AuthType.NONE} if request.callback_auth is None else request.callback_auth, rules
        )
        sealed = credentials.seal_auth(subscription.id, credential, rules.keyring)
        changed = structs.replace(changed, auth_type=auth_type, auth_sealed=sealed)
    if request.client_certificate is not UNSET or request.ca_certificate is not UNSET:
        changed = _with_trust(changed, request, rules, now=now)
    if request.active is not UNSET:
        changed = _switched(changed, is_active=request.active is not False, now=now)
    _check_https(changed)
    if any(member is not UNSET for member in (request.callback_url, request.headers, request.callback_auth)):
        _check_together(changed, rules)
    return changed


def _with_trust(subscription: Subscription, request: SubscriptionRequest, rules: Rules, *, now: int) -> Subscription:
    """Return it with what the request says of certificates, which are sealed together; the rest of them stays."""
    trust = credentials.open_trust(subscription, rules.keyring) or Trust()
    policies = subscription.policies
    own, bundle = request.client_certificate, request.ca_certificate
    if own is None:
        trust = structs.replace(trust, certificate=None, private_key=None)
        policies = structs.replace(policies, client_certificate=None)
    elif own is not UNSET:
        shown = certificates.client_certificate(own.certificate, own.private_key, now)
        trust = structs.replace(trust, certificate=own.certificate, private_key=own.private_key)
        policies = structs.replace(policies, client_certificate=shown)
    if bundle is None:
        trust = structs.replace(trust, authorities=None)
        policies = structs.replace(policies, ca_certificates=None)
    elif bundle is not UNSET:
        policies = structs.replace(policies, ca_certificates=certificates.authorities(bundle))
        trust = structs.replace(trust, authorities=bundle)
    sealed = credentials.seal_trust(subscription.id, trust, rules.keyring)
    return structs.replace(subscription, policies=policies, trust_sealed=sealed)


def _check_https(subscription: Subscription) -> None:
    if subscription.trust_sealed is not None and not subscription.callback_url.lower().startswith("https:"):
        field = "clientCertificate" if subscription.policies.client_certificate else "caCertificate"
        raise Invalid.field(field, "is for https only: give an https callbackUrl, or null here.")


def _switched(subscription: Subscription, *, is_active: bool, now: int) -> Subscription:
    if is_active == subscription.active:
        return subscription
    reason, at = (None, None) if is_active else (InactiveReason.PAUSED, now)
    return structs.replace(subscription, active=is_active, inactive_reason=reason, inactive_at=at)


def _check_together(subscription: Subscription, rules: Rules) -> None:
    """Check what two members say only together."""
    if subscription.auth_type is AuthType.NONE:
        return
    if not subscription.callback_url.lower().startswith("https:") and not rules.url_rules.allow_loopback:
        raise Invalid.field("callbackAuth", "a credential is sent over https only: give an https callbackUrl.")
    header = credentials.open_auth(subscription, rules.keyring)
    if isinstance(header, tuple) and header[0].lower() in {name.lower() for name in subscription.policies.header_names}:
        raise Invalid.field("headers", f"{header[0]} is what callbackAuth sends; it cannot have two values.")


# --- members ---------------------------------------------------------------------------------------------------------


def _shape(name: str | Given, shapes: tuple[PayloadVersion, ...]) -> PayloadVersion:
    if name is UNSET or name is None:
        return shapes[0]
    if name not in shapes:
        raise Invalid.field("payloadVersion", f"expected {' or '.join(shapes)}, found {name[:20]!r}.")
    return PayloadVersion(name)


def _url(field: str, text: str, rules: Rules) -> CallbackUrl:
    try:
        return parse(text, rules.url_rules)
    except UrlRefused as error:
        remedy = f" {error.setting} would allow it." if error.setting and rules.shows_settings else ""
        raise Invalid.field(field, f"{error.message}{remedy}") from error


def _event_types(names: list[str] | None, shape: PayloadVersion, catalogue: Catalogue) -> tuple[str, ...] | None:
    if not names:
        return None
    if len(names) > EVENT_TYPES_MAX:
        raise Invalid.field("eventTypes", f"expected at most {EVENT_TYPES_MAX:,} names.")
    known = matching.known_names(catalogue.types.values(), shape)
    unknown = [
        FieldError(f"eventTypes[{index}]", _unknown(name, shape, catalogue, known))
        for index, name in islice(((index, name) for index, name in enumerate(names) if name not in known), ERRORS_MAX)
    ]
    if unknown:
        raise Invalid(f"{unknown[0].field}: {unknown[0].message}", unknown)
    return tuple(dict.fromkeys(names))


def _unknown(name: str, shape: PayloadVersion, catalogue: Catalogue, known: AbstractSet[str]) -> str:
    """Say why no subscription of `shape` can ask for a name."""
    event_type = catalogue.types.get(name)
    if event_type is None:
        return unknown_type(name, known)
    seen = matching.seen_name(event_type, shape)
    if seen is None:
        return f"{name} is never sent to subscriptions of payload version {shape}; choose another payloadVersion."
    return f"subscriptions of payload version {shape} know {name} as {seen}; ask for that name."


def _policies(subscription: Subscription, request: SubscriptionRequest, rules: Rules) -> Policies:
    shape, defaults = subscription.payload_version, Policies()
    readers: dict[str, Callable[[Any], Any]] = {
        "retry_delays_seconds": _retry_delays,
        "timeout_seconds": lambda seconds: _timeout(seconds, rules) or defaults.timeout_seconds,
        "max_in_flight": lambda count: count or defaults.max_in_flight,
        "rate_per_second": lambda count: count,
        "ordered": bool,
        "content_type": lambda name: _content_type(name, shape),
        "case_directions": lambda names: _case_directions(names, shape),
        "partner_company_ids": lambda ids: _partners(ids, shape),
        "filter": _filter,
        "validation": _validation,
    }
    given = {
        name: read(getattr(request, name)) for name, read in readers.items() if getattr(request, name) is not UNSET
    }
    if request.headers is not UNSET:
        given["header_names"] = tuple(request.headers or ())
    return structs.replace(subscription.policies, **given) if given else subscription.policies


def _timeout(seconds: int | None, rules: Rules) -> int | None:
    if seconds is not None and not 1 <= seconds <= rules.timeout_seconds_max:
        raise Invalid.field("timeoutSeconds", f"expected a whole number from 1 to {rules.timeout_seconds_max}.")
    return seconds


def _filter(said: Raw) -> str | None:
    text = bytes(said)
    return None if text == b"null" else filtering.compacted(text)


def _validation(name: str | None) -> Validation | None:
    if name is not None and name not in list(Validation):
        raise Invalid.field("validation", f"expected {' or '.join(Validation)}, found {name[:20]!r}.")
    return None if name is None else Validation(name)


def _retry_delays(delays: list[int] | str | None) -> tuple[int, ...] | str | None:
    if isinstance(delays, str):
        if delays not in retry.PRESETS:
            expected = f"expected a list of seconds or one of {', '.join(retry.PRESETS)}"
            raise Invalid.field("retryDelaysSeconds", f"{expected}, found {delays[:40]!r}.")
        return delays
    if delays is not None and len(delays) > retry.RETRIES_MAX:
        raise Invalid.field("retryDelaysSeconds", f"expected at most {retry.RETRIES_MAX} waits, found {len(delays)}.")
    return None if delays is None else tuple(delays)


def _content_type(content_type: str | None, shape: PayloadVersion) -> str | None:
    allowed = {JSON, CLOUDEVENTS} if shape is PayloadVersion.V2 else {JSON}
    if content_type is not None and content_type not in allowed:
        raise Invalid.field("contentType", f"expected {' or '.join(sorted(allowed))}.")
    return content_type


def _case_directions(names: list[str] | None, shape: PayloadVersion) -> tuple[str, ...] | None:
    if not names:
        return None
    _refuse_filter_of_v2("caseDirections", shape)
    for index, name in enumerate(names):
        if name not in DIRECTIONS:
            raise Invalid.field(f"caseDirections[{index}]", f"expected {' or '.join(DIRECTIONS)}, found {name[:20]!r}.")
    return tuple(dict.fromkeys(names))


def _partners(company_ids: list[int] | None, shape: PayloadVersion) -> tuple[int, ...] | None:
    if not company_ids:
        return None
    _refuse_filter_of_v2("partnerCompanyIds", shape)
    if len(company_ids) > PARTNERS_MAX:
        raise Invalid.field("partnerCompanyIds", f"expected at most {PARTNERS_MAX:,}, found {len(company_ids):,}.")
    return tuple(dict.fromkeys(company_ids))


def _refuse_filter_of_v2(field: str, shape: PayloadVersion) -> None:
    if shape is not PayloadVersion.V2:
        raise Invalid.field(field, "is for subscriptions of version 2 (`POST /v2/webhooks`).")


def _headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    if len(headers) > HEADERS_MAX:
        raise Invalid.field("headers", f"expected at most {HEADERS_MAX}, found {len(headers)}.")
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header_name("headers", name)
        if name.lower() == "authorization":
            raise Invalid.field("headers", "Authorization is a credential: give it as callbackAuth.")
        if name.lower() in seen:
            raise Invalid.field("headers", f"{name} is given twice; names are compared without case.")
        seen.add(name.lower())
        _check_header_value(f"headers.{name}", value)
    return headers


def _check_header_name(field: str, name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise Invalid.field(field, f"{name[:40]!r} is no header name (RFC 9110, 5.6.2).")
    if name.lower() in _RESERVED_NAMES or name.lower().startswith(_RESERVED_PREFIXES):
        raise Invalid.field(field, f"{name} is set by Hookline or by HTTP itself and cannot be chosen.")


def _check_header_value(field: str, value: str) -> None:
    if len(value) > HEADER_VALUE_CHARACTERS_MAX or not _VALUE.fullmatch(value):
        expected = f"expected 1 to {HEADER_VALUE_CHARACTERS_MAX:,} visible ASCII characters, blanks only between them"
        raise Invalid.field(field, f"{expected}.")


# --- callbackAuth ----------------------------------------------------------------------------------------------------


def _auth(said: Mapping[str, Any], rules: Rules) -> tuple[AuthType, Mapping[str, str]]:
    """Return the type and the members that belong to it. With `NONE` all others may be anything."""
    name = said.get("type")
    if not isinstance(name, str) or name not in list(AuthType):
        raise Invalid.field("callbackAuth.type", f"expected one of {', '.join(AuthType)}.")
    auth_type = AuthType(name)
    credential: Mapping[str, str]
    match auth_type:
        case AuthType.NONE:
            return auth_type, {}
        case AuthType.OAUTH2_CLIENT_CREDENTIALS:
            credential = _token_request(said, rules)
        case AuthType.BASIC:
            credential = {"username": _credential(said, "username"), "password": _credential(said, "password")}
            if ":" in credential["username"]:
                raise Invalid.field("callbackAuth.username", "must not contain a colon (RFC 7617, 2).")
        case AuthType.BEARER:
            credential = {"token": _credential(said, "token")}
            _check_header_value("callbackAuth.token", credential["token"])
        case AuthType.HEADER:
            credential = {
                "headerName": _credential(said, "headerName"),
                "headerValue": _credential(said, "headerValue"),
            }
            _check_header_name("callbackAuth.headerName", credential["headerName"])
            _check_header_value("callbackAuth.headerValue", credential["headerValue"])
    if said.get("oauth2Scope", UNSET) in (None, ""):
        raise Invalid.field("callbackAuth.oauth2Scope", "must be a scope, or be left out.")
    return auth_type, credential


def _token_request(said: Mapping[str, Any], rules: Rules) -> Mapping[str, str]:
    url = _url("callbackAuth.oauth2TokenUrl", _credential(said, "oauth2TokenUrl"), rules)
    if url.scheme != "https" and not rules.url_rules.allow_loopback:
        raise Invalid.field("callbackAuth.oauth2TokenUrl", "a client secret is sent over https only.")
    methods = list(ClientAuthentication)
    method = said.get("oauth2ClientAuthenticationMethod")
    if method in (None, ""):
        method = ClientAuthentication.CLIENT_SECRET_BASIC
    if method not in methods:
        raise Invalid.field("callbackAuth.oauth2ClientAuthenticationMethod", f"expected {' or '.join(methods)}.")
    request = {
        "oauth2TokenUrl": url.text,
        "oauth2ClientId": _credential(said, "oauth2ClientId"),
        "oauth2ClientSecret": _credential(said, "oauth2ClientSecret"),
        "oauth2ClientAuthenticationMethod": method,
    }
    scope = said.get("oauth2Scope")
    if scope not in (None, ""):
        if not isinstance(scope, str) or len(scope) > CREDENTIAL_CHARACTERS_MAX or not _SCOPE.fullmatch(scope):
            raise Invalid.field(
                "callbackAuth.oauth2Scope", "expected names with single blanks between (RFC 6749, 3.3)."
            )
        request["oauth2Scope"] = scope
    return request


def _credential(said: Mapping[str, Any], member: str) -> str:
    value = said.get(member)
    if not isinstance(value, str) or not 1 <= len(value) <= CREDENTIAL_CHARACTERS_MAX:
        raise Invalid.field(f"callbackAuth.{member}", "is required for this type: a string that is not empty.")
    if any(character < " " or character == "\x7f" for character in value):
        raise Invalid.field(f"callbackAuth.{member}", "must not contain control characters.")
    return value
