"""What the API answers, route by route: one entry for each of `app.ROUTES`, no more and no fewer.

A test compares the two, roles included. `openapi` makes the document of them.
"""

from typing import Any, Final, NamedTuple

from hookline.api.answers import JSON
from hookline.api.reading import FORM
from hookline.api.schemas import (
    BOOLEAN,
    EVENT_ID,
    ID,
    INSTANT,
    TEXT,
    TYPE_NAME,
    Schema,
    array,
    one_of,
    page_of,
    ref,
)
from hookline.model import DeliveryState, Role

# --- how an operation is said ----------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a success looks like; `schema` None: no body."""

    status: int
    text: str
    schema: Schema | None = None
    media_type: str = JSON


class Operation(NamedTuple):
    """One route. `problems` are the statuses that its sort alone does not imply."""

    name: str
    summary: str
    answer: Answer
    roles: tuple[Role, ...] | None
    tag: str
    query: tuple[dict[str, Any], ...] = ()
    body: str | None = None
    """The name of a schema."""
    body_is_optional: bool = False
    body_media_type: str = JSON
    problems: tuple[int, ...] = ()
    extra: dict[str, Any] | None = None
    """Members of the OpenAPI operation that only this one has."""


OPERATOR: Final = (Role.OPERATOR,)
PUBLISHERS: Final = (Role.OPERATOR, Role.PUBLISHER)
WRITERS: Final = (Role.OPERATOR, Role.MEMBER)
READERS: Final = (Role.OPERATOR, Role.MEMBER, Role.VIEWER)


def _query(name: str, schema: Schema, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": text}


COMPANY: Final = _query(
    "companyId",
    ID,
    "The company an operator acts for: required on POST, narrows elsewhere. 1 is the built-in company `operator`, whose"
    " subscriptions get the operational events of all.",
)
PAGING: Final = (
    _query("limit", {"type": "integer", "minimum": 1, "default": 50}, "How many; more than 200 counts as 200."),
    _query("cursor", TEXT, "`next` of the page before."),
)
PART_OF_ALL: Final = (
    COMPANY,
    _query("limit", {"type": "integer", "minimum": 1}, "For operators without a company: how many (200)."),
    _query("afterId", {"type": "integer", "minimum": 0}, "For operators without a company: go on after."),
)
SPAN: Final = (_query("from", INSTANT, "Not before."), _query("to", INSTANT, "Before."))
PATH_PARAMETERS: Final[dict[str, tuple[Schema, str]]] = {
    "id": (ID, "The id."),
    "tokenId": (ID, "The token's id."),
    "accountId": (ID, "The account's id."),
    "deliveryId": (ID, "The delivery's id."),
    "name": (TYPE_NAME, "The event type's name."),
    "eventId": (EVENT_ID, "The event's id."),
}
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": "The same key with the same bytes answers the first answer and stores nothing new, for 72 hours.",
}
NO_CONTENT: Final = Answer(204, "Done.")

# --- what arrives at a callback URL ----------------------------------------------------------------------------------


def _sent(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": TEXT, "description": text}


CALLBACK: Final = {
    "delivery": {
        "{$request.body#/callbackUrl}": {
            "post": {
                "summary": "One attempt of one delivery",
                "description": "At least once: the same `webhook-id` may arrive again. Any 2xx is success; all else is "
                "retried by the subscription's schedule. Redirects are not followed.",
                "parameters": [
                    _sent("X-Hub-Signature-256", "`sha256=` and the hex HMAC-SHA256 of the body under the secret."),
                    _sent("webhook-id", "The event's id, the same on every attempt."),
                    _sent("webhook-timestamp", "Seconds since the Unix epoch of this attempt."),
                    _sent("webhook-signature", "Standard Webhooks 1.0.0: `v1,` and base64, one for each live secret."),
                    _sent("Hookline-Attempt", "1, 2, 3 …"),
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "description": "V1: `eventType`, the members of `data`, `timestamp`. "
                                "STANDARD: `type`, `timestamp`, `data`. RAW: `data` alone.",
                            },
                            "examples": {
                                "V1": {
                                    "value": {
                                        "eventType": "note.created",
                                        "requestToken": "deadbeefdeadbeef",
                                        "noteToken": "a1b2c3",
                                        "timestamp": "2026-11-23T08:00:00.000Z",
                                    }
                                }
                            },
                        },
                        "application/cloudevents+json": {
                            "schema": {"type": "object", "description": "V2: CloudEvents 1.0, structured."}
                        },
                    },
                },
                "responses": {
                    "2XX": {"description": "The delivery succeeded, whatever the body says."},
                    "default": {"description": "The attempt failed; at most 16 KiB of the body are kept in the log."},
                },
            }
        }
    }
}

# --- the operations --------------------------------------------------------------------------------------------------

OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("GET", "/healthz"): Operation(
        "isAlive", "Whether the process lives", Answer(200, "It does.", ref("Status")), None, "health"
    ),
    ("GET", "/readyz"): Operation(
        "isReady",
        "Whether an event can be made durable now",
        Answer(200, "It can.", ref("Status")),
        None,
        "health",
        problems=(503,),
    ),
    ("GET", "/metrics"): Operation(
        "readMetrics",
        "Counters and histograms for Prometheus; needs an operator token where others than this machine can connect",
        Answer(200, "The text format.", TEXT, "text/plain"),
        None,
        "health",
        problems=(401, 403, 503),
    ),
    ("GET", "/openapi.json"): Operation(
        "describe", "This description", Answer(200, "OpenAPI 3.1.", {"type": "object"}), None, "health"
    ),
    ("GET", "/v1/me"): Operation(
        "whoAmI", "Who the bearer of this token is", Answer(200, "Company and role.", ref("Me")), READERS, "tokens"
    ),
    ("DELETE", "/v1/me/tokens"): Operation(
        "signOutEverywhere",
        "Revoke all tokens that the account of this one has signed in for, this one too",
        NO_CONTENT,
        READERS,
        "accounts",
        problems=(409,),
    ),
    ("GET", "/v1/companies"): Operation(
        "listCompanies",
        "List companies by id",
        Answer(200, "A page of them.", page_of(ref("Company"))),
        OPERATOR,
        "companies",
        PAGING,
    ),
    ("POST", "/v1/companies"): Operation(
        "createCompany",
        "Make a company",
        Answer(201, "The company.", ref("Company")),
        OPERATOR,
        "companies",
        body="NewCompany",
    ),
    ("GET", "/v1/companies/{id}"): Operation(
        "showCompany", "Show a company", Answer(200, "The company.", ref("Company")), OPERATOR, "companies"
    ),
    ("PATCH", "/v1/companies/{id}"): Operation(
        "changeCompany",
        "Rename a company, or change how long its events are kept",
        Answer(200, "The company.", ref("Company")),
        OPERATOR,
        "companies",
        body="CompanyChange",
        problems=(409,),
    ),
    ("DELETE", "/v1/companies/{id}"): Operation(
        "deleteCompany",
        "Delete a company with its tokens",
        NO_CONTENT,
        OPERATOR,
        "companies",
        (_query("cascade", BOOLEAN, "Delete its subscriptions too."),),
        problems=(409,),
    ),
    ("POST", "/v1/login"): Operation(
        "logIn",
        "Get a member token for an hour by an account's name and password",
        Answer(200, "The token.", ref("LoggedIn")),
        None,
        "accounts",
        body="Login",
        problems=(401, 429, 503),
    ),
    ("POST", "/oauth2/token"): Operation(
        "getToken",
        "Get a member token for an hour as an OAuth 2.0 client; refusals hold `error` and `error_description` too",
        Answer(200, "The token.", ref("TokenAnswer")),
        None,
        "accounts",
        body="TokenRequest",
        body_media_type=FORM,
        problems=(401, 429, 503),
    ),
    ("GET", "/v1/companies/{id}/accounts"): Operation(
        "listAccounts",
        "List a company's accounts by id",
        Answer(200, "A page of them, without their secrets.", page_of(ref("Account"))),
        OPERATOR,
        "accounts",
        PAGING,
    ),
    ("POST", "/v1/companies/{id}/accounts"): Operation(
        "createAccount",
        "Make an account, whose owner gets short-lived member tokens",
        Answer(201, "The account, with its client secret this once.", ref("CreatedAccount")),
        OPERATOR,
        "accounts",
        body="NewAccount",
        problems=(409,),
    ),
    ("GET", "/v1/companies/{id}/accounts/{accountId}"): Operation(
        "showAccount", "Show an account", Answer(200, "The account.", ref("Account")), OPERATOR, "accounts"
    ),
    ("DELETE", "/v1/companies/{id}/accounts/{accountId}"): Operation(
        "deleteAccount", "Delete an account and revoke its tokens", NO_CONTENT, OPERATOR, "accounts"
    ),
    ("POST", "/v1/companies/{id}/portal-links"): Operation(
        "createPortalLink",
        "Make a link that opens one session in the company's part of the dashboard, once",
        Answer(201, "The link: good for one use within 5 minutes, for a session of an hour.", ref("PortalLink")),
        OPERATOR,
        "companies",
        body="NewPortalLink",
        body_is_optional=True,
    ),
    ("GET", "/v1/companies/{id}/tokens"): Operation(
        "listCompanyTokens",
        "List a company's tokens by id",
        Answer(200, "A page of them, without the tokens themselves.", page_of(ref("Token"))),
        OPERATOR,
        "tokens",
        PAGING,
    ),
    ("POST", "/v1/companies/{id}/tokens"): Operation(
        "createCompanyToken",
        "Make a member or viewer token",
        Answer(201, "The token, shown once.", ref("CreatedToken")),
        OPERATOR,
        "tokens",
        body="NewCompanyToken",
    ),
    ("DELETE", "/v1/companies/{id}/tokens/{tokenId}"): Operation(
        "revokeCompanyToken", "Revoke a token, on every node within a second", NO_CONTENT, OPERATOR, "tokens"
    ),
    ("GET", "/v1/tokens"): Operation(
        "listTokens",
        "List operator and publisher tokens by id",
        Answer(200, "A page of them, without the tokens themselves.", page_of(ref("Token"))),
        OPERATOR,
        "tokens",
        PAGING,
    ),
    ("POST", "/v1/tokens"): Operation(
        "createToken",
        "Make an operator or publisher token",
        Answer(201, "The token, shown once.", ref("CreatedToken")),
        OPERATOR,
        "tokens",
        body="NewInstallationToken",
    ),
    ("GET", "/v1/audit"): Operation(
        "listAudit",
        "List who changed what, newest first",
        Answer(200, "A page of changes.", page_of(ref("AuditEntry"))),
        OPERATOR,
        "audit",
        PAGING,
    ),
    ("DELETE", "/v1/tokens/{tokenId}"): Operation(
        "revokeToken", "Revoke a token, on every node within a second", NO_CONTENT, OPERATOR, "tokens"
    ),
    ("GET", "/v1/event-types"): Operation(
        "listEventTypes",
        "List the catalogue by name",
        Answer(200, "A page of it.", page_of(ref("EventType"))),
        READERS,
        "event types",
        PAGING,
    ),
    ("GET", "/v1/event-types/{name}"): Operation(
        "showEventType", "Show an event type", Answer(200, "The type.", ref("EventType")), READERS, "event types"
    ),
    ("PUT", "/v1/event-types/{name}"): Operation(
        "putEventType",
        "Make or replace an event type",
        Answer(200, "The type.", ref("EventType")),
        OPERATOR,
        "event types",
        body="NewEventType",
        body_is_optional=True,
        problems=(409,),
    ),
    ("DELETE", "/v1/event-types/{name}"): Operation(
        "deleteEventType",
        "Delete an event type; subscriptions that name it get nothing for it",
        NO_CONTENT,
        OPERATOR,
        "event types",
        problems=(409,),
    ),
    ("POST", "/v1/events"): Operation(
        "publishEvent",
        "Publish an event: durable, with all its deliveries, before the answer",
        Answer(202, "The event is on disk.", ref("AcceptedEvent")),
        PUBLISHERS,
        "events",
        (IDEMPOTENCY_KEY,),
        body="NewEvent",
        problems=(409,),
    ),
    ("POST", "/v1/events/batch"): Operation(
        "publishEvents",
        "Publish up to 1,000 events in one transaction, all or nothing",
        Answer(202, "The events are on disk.", ref("AcceptedEvents")),
        PUBLISHERS,
        "events",
        (IDEMPOTENCY_KEY,),
        body="NewEvents",
        problems=(409,),
    ),
    ("GET", "/v1/events"): Operation(
        "listEvents",
        "List events, newest first; a member sees those for its company",
        Answer(200, "A page of them.", page_of(ref("Event"))),
        READERS,
        "events",
        (
            *PAGING,
            COMPANY,
            _query("eventType", TEXT, "Of this type."),
            _query("state", one_of(*DeliveryState), "With a delivery in this state."),
            *SPAN,
        ),
    ),
    ("GET", "/v1/events/{eventId}"): Operation(
        "showEvent",
        "Show an event with its deliveries, and why others did not come to be",
        Answer(200, "The event.", ref("EventDetail")),
        READERS,
        "events",
        (COMPANY, PAGING[1]),
    ),
    ("DELETE", "/v1/events/{eventId}/data"): Operation(
        "eraseEventData",
        "Erase an event's data and the bodies of its attempts, and cancel what is pending",
        NO_CONTENT,
        OPERATOR,
        "events",
    ),
    ("GET", "/v1/webhooks"): Operation(
        "listSubscriptions",
        "List the company's subscriptions by id, those of version 2 left out",
        Answer(200, "All of them.", array(ref("Subscription"))),
        READERS,
        "webhooks",
        (
            _query("payloadVersion", one_of("V1", "STANDARD", "RAW", "ANY"), "Narrow to one shape; `ANY`: all."),
            *PART_OF_ALL,
        ),
    ),
    ("POST", "/v1/webhooks"): Operation(
        "createSubscription",
        "Register a subscription",
        Answer(200, "The subscription, with its secret this once.", ref("CreatedSubscription")),
        WRITERS,
        "webhooks",
        (COMPANY,),
        body="NewSubscription",
        problems=(404, 409),
        extra={"callbacks": CALLBACK},
    ),
    ("GET", "/v2/webhooks"): Operation(
        "listSubscriptionsOfVersion2",
        "List the company's subscriptions of version 2 by id",
        Answer(200, "All of them.", array(ref("Subscription"))),
        READERS,
        "webhooks",
        PART_OF_ALL,
    ),
    ("POST", "/v2/webhooks"): Operation(
        "createSubscriptionOfVersion2",
        "Register a subscription that receives CloudEvents",
        Answer(200, "The subscription, with its secret this once.", ref("CreatedSubscription")),
        WRITERS,
        "webhooks",
        (COMPANY,),
        body="NewSubscriptionOfVersion2",
        problems=(404, 409),
        extra={"callbacks": CALLBACK},
    ),
    ("GET", "/v1/webhooks/{id}"): Operation(
        "showSubscription",
        "Show a subscription",
        Answer(200, "The subscription.", ref("Subscription")),
        READERS,
        "webhooks",
        (COMPANY,),
    ),
    ("PATCH", "/v1/webhooks/{id}"): Operation(
        "changeSubscription",
        "Change a subscription; null restores a default, an absent member stays",
        Answer(200, "The subscription; it counts from the next attempt on.", ref("Subscription")),
        WRITERS,
        "webhooks",
        (COMPANY,),
        body="SubscriptionChange",
        problems=(409,),
    ),
    ("DELETE", "/v1/webhooks/{id}"): Operation(
        "deleteSubscription",
        "Delete a subscription; no attempt starts after the answer",
        NO_CONTENT,
        WRITERS,
        "webhooks",
        (COMPANY,),
    ),
    ("POST", "/v1/webhooks/{id}/secret"): Operation(
        "rotateSecret",
        "Give a subscription a new secret; the old one goes on signing for the overlap",
        Answer(200, "The subscription, with its new secret this once.", ref("CreatedSubscription")),
        WRITERS,
        "webhooks",
        (COMPANY,),
        body="Rotation",
        body_is_optional=True,
        problems=(409,),
    ),
    ("POST", "/v1/webhooks/{id}/ping"): Operation(
        "pingSubscription",
        "Send a `webhook.ping` to one subscription: a real event, logged and retried like any",
        Answer(202, "It is on disk and about to be sent.", ref("Reopened")),
        WRITERS,
        "webhooks",
        (COMPANY,),
        problems=(409,),
    ),
    ("GET", "/v1/webhooks/{id}/deliveries"): Operation(
        "listAttempts",
        "Read the delivery log of a subscription: one row for each attempt, newest first",
        Answer(200, "A page of it, with the exact total of the same snapshot.", ref("AttemptPage")),
        READERS,
        "webhooks",
        (
            COMPANY,
            _query("page", {"type": "integer", "format": "int32", "minimum": 0, "default": 0}, "From 0."),
            _query("size", {"type": "integer", "format": "int32", "minimum": 1, "default": 20}, "At most 200 count."),
            _query("status", one_of("succeeded", "failed"), "Attempts that ended so."),
            _query("eventType", TEXT, "The name that this subscription sees."),
            *SPAN,
            _query("beforeId", ID, "Only older rows: to walk exactly while rows arrive."),
        ),
    ),
    ("GET", "/v1/webhooks/{id}/deliveries/{deliveryId}"): Operation(
        "showDelivery",
        "Show a delivery with its attempts, heads, bodies and timings",
        Answer(200, "The delivery.", ref("DeliveryDetail")),
        READERS,
        "webhooks",
        (COMPANY,),
    ),
    ("POST", "/v1/webhooks/{id}/deliveries/{deliveryId}/redeliver"): Operation(
        "redeliver",
        "Send a delivery that has ended again, with all of its retries",
        Answer(202, "It is due now, or was waiting for an attempt anyway.", ref("Reopened")),
        WRITERS,
        "webhooks",
        (COMPANY,),
        problems=(409,),
    ),
    ("POST", "/v1/webhooks/{id}/replay"): Operation(
        "replay",
        "Send the deliveries of a time again, and with no status also what the subscription missed",
        Answer(202, "It is counted and on disk, and runs at a fifth of the subscription's slots.", ref("Replay")),
        WRITERS,
        "replays",
        (COMPANY,),
        body="NewReplay",
        problems=(409,),
    ),
    ("POST", "/v1/replays"): Operation(
        "replayAll",
        "Send the deliveries of a time again to all subscriptions, after an outage of our own",
        Answer(202, "It is counted and on disk.", ref("Replay")),
        OPERATOR,
        "replays",
        body="NewWholeReplay",
    ),
    ("GET", "/v1/replays/{id}"): Operation(
        "showReplay",
        "Show how far a replay has come",
        Answer(200, "The replay.", ref("Replay")),
        READERS,
        "replays",
        (COMPANY,),
    ),
    ("DELETE", "/v1/replays/{id}"): Operation(
        "cancelReplay",
        "Cancel a replay; what has not started is as it was before",
        NO_CONTENT,
        WRITERS,
        "replays",
        (COMPANY,),
    ),
}
