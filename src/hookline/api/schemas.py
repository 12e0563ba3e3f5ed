"""The shapes that requests and answers have, as JSON Schema 2020-12: what `/openapi.json` says of them.

Written by hand from the contract, never derived from code: where the two differ, one of them is wrong, and a test says
so. Answers may carry more members than listed here, never fewer.
"""

from typing import Any, Final

from hookline.model import Action, AuthType, DeliveryState, ErrorClass, ReplayState, Role, TypeKind, Validation

Schema = dict[str, Any]

ID: Final[Schema] = {"type": "integer", "format": "int64", "minimum": 1, "maximum": 2**53 - 1}
TEXT: Final[Schema] = {"type": "string"}
SECONDS: Final[Schema] = {"type": "integer", "minimum": 1}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
BOOLEAN: Final[Schema] = {"type": "boolean"}
INSTANT: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "description": "RFC 3339; answers are UTC with milliseconds, ending in `Z`.",
}
NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}
TYPE_NAME: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"}
EVENT_ID: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}


def ref(name: str) -> Schema:
    """Point to a schema of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    """Allow null too."""
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema, **limits: int) -> Schema:
    """Make an array; `limits` are JSON Schema's, as `maxItems=200`."""
    return {"type": "array", "items": items, **limits}


def one_of(*values: str) -> Schema:
    """Make a choice of strings."""
    return {"type": "string", "enum": list(values)}


def answer(**members: Schema) -> Schema:
    """Make an object of an answer: every member is always there."""
    return {"type": "object", "properties": members, "required": list(members)}


def request(required: tuple[str, ...] = (), /, **members: Schema) -> Schema:
    """Make an object of a request: others than `required` may be absent, unknown ones are ignored."""
    return {"type": "object", "properties": members} | ({"required": list(required)} if required else {})


def page_of(items: Schema) -> Schema:
    """Make a list with a cursor."""
    return answer(
        items=array(items), next=nullable(TEXT | {"description": "The `cursor` to go on with; null: the end."})
    )


def _described(schema: Schema, text: str) -> Schema:
    return schema | {"description": text}


POLICIES: Final[dict[str, Schema]] = {
    "retryDelaysSeconds": {
        "anyOf": [
            array({"type": "integer", "minimum": 1, "maximum": 86_400}, maxItems=20),
            one_of("standard", "capped", "hourly", "days"),
        ],
        "description": "Waits before the retries, or a preset's name.",
    },
    "timeoutSeconds": {"type": "integer", "minimum": 1, "maximum": 30, "description": "Until the response head."},
    "maxInFlight": {"type": "integer", "minimum": 1, "maximum": 100, "description": "Simultaneous attempts."},
    "ordered": BOOLEAN | {"description": "One after the other, in order of acceptance; a failing one holds the next."},
}
RATE: Final = nullable({"type": "integer", "minimum": 1, "maximum": 10_000}) | {
    "description": "At most so many attempts started a second; null: no limit."
}
AUTH: Final[Schema] = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": one_of(*AuthType)},
    "description": "BASIC needs `username` and `password`, BEARER `token`, HEADER `headerName` and `headerValue`, "
    "OAUTH2_CLIENT_CREDENTIALS `oauth2TokenUrl`, `oauth2ClientId` and `oauth2ClientSecret`, and may have "
    "`oauth2ClientAuthenticationMethod` (CLIENT_SECRET_BASIC or CLIENT_SECRET_POST) and `oauth2Scope`; with NONE all "
    "other members may be anything.",
}
CALLBACK_URL: Final[Schema] = {
    "type": "string",
    "format": "uri",
    "maxLength": 2048,
    "description": "Where deliveries go; https in production.",
    "examples": ["https://api.example.com/webhooks/hookline"],
}
ASKED_TYPES: Final[Schema] = nullable(array(TYPE_NAME)) | {
    "description": "Names as this subscription sees them; absent, null and [] mean every ordinary type, later ones too."
}
STATIC_HEADERS: Final[Schema] = nullable({"type": "object", "additionalProperties": TEXT, "maxProperties": 16})
FILTERS_OF_V2: Final[dict[str, Schema]] = {
    "caseDirections": _described(
        nullable(array(one_of("INBOUND", "OUTBOUND"))), "Only events whose recipient has one of these; null: no filter."
    ),
    "partnerCompanyIds": _described(
        nullable(array({"type": "integer", "format": "int64"}, maxItems=1000)),
        "Only events whose recipient has one of these partners; null: no filter.",
    ),
}
FILTER: Final[Schema] = {
    "type": "object",
    "description": "Only events whose `data` this expression holds for: paths of member names joined by dots, each "
    "with a value or with operators (`eq ne in nin lt lte gt gte prefix exists`), combined by `and`, `or`, `not`; at "
    "most 50 of these, 5 levels deep.",
    "examples": [{"status": "OPEN", "amount": {"gte": 100}}],
}
VALIDATION: Final[Schema] = nullable(one_of(*Validation)) | {
    "description": "CLOUDEVENTS: nothing is sent before the receiver has granted the CloudEvents web hook handshake."
}
CHANGEABLE: Final[dict[str, Schema]] = {
    "eventTypes": ASKED_TYPES,
    "callbackAuth": nullable(AUTH),
    **{name: nullable(schema) for name, schema in POLICIES.items()},
    "ratePerSecond": RATE,
    "contentType": _described(nullable(TEXT), "A media type that the payload version allows."),
    "headers": _described(STATIC_HEADERS, "Extra request headers; their values are never shown again."),
    "filter": nullable(FILTER),
    "clientCertificate": _described(
        nullable(request(("certificate", "privateKey"), certificate=TEXT, privateKey=TEXT)),
        "What we show to the receiver (mTLS): the certificate with its chain and its key, PEM, not encrypted.",
    ),
    "validation": VALIDATION,
    "caCertificate": _described(
        nullable(TEXT), "PEM of authorities that may vouch for this receiver too; at most 50 certificates."
    ),
}
CERTIFICATE: Final[Schema] = answer(subject=TEXT, expiresAt=INSTANT)
SUBSCRIPTION: Final[dict[str, Schema]] = {
    "id": ID,
    "companyId": ID,
    "callbackUrl": CALLBACK_URL,
    "eventTypes": _described(array(TEXT), "The effective list."),
    "active": BOOLEAN,
    "createdAt": INSTANT,
    "updatedAt": INSTANT,
    "callbackAuthType": one_of(*AuthType),
    "payloadVersion": one_of("V1", "V2", "STANDARD", "RAW"),
    **POLICIES,
    "ratePerSecond": RATE,
    "contentType": TEXT,
    "headers": _described(array(TEXT), "The names alone."),
    "filter": nullable(FILTER),
    **FILTERS_OF_V2,
    "clientCertificate": nullable(CERTIFICATE),
    "caCertificate": nullable(array(CERTIFICATE)),
    "validation": VALIDATION,
    "inactiveReason": nullable(TEXT),
    "inactiveSince": nullable(INSTANT),
}
TIMINGS: Final[Schema] = answer(
    dnsMs=nullable(COUNT), connectMs=nullable(COUNT), tlsMs=nullable(COUNT), waitMs=nullable(COUNT)
)
OUTCOME: Final[dict[str, Schema]] = {
    "attemptNumber": {"type": "integer", "minimum": 1},
    "success": BOOLEAN,
    "httpStatus": nullable({"type": "integer", "minimum": 100, "maximum": 599}),
    "error": nullable(one_of(*ErrorClass)),
    "detail": _described(nullable(TEXT), "What happened, in a sentence."),
    "durationMs": COUNT,
    "createdAt": INSTANT,
    "nextAttemptAt": nullable(INSTANT),
    "deadLettered": BOOLEAN,
}
EVENT: Final[dict[str, Schema]] = {
    "id": EVENT_ID,
    "eventType": TYPE_NAME,
    "occurredAt": INSTANT,
    "acceptedAt": INSTANT,
    "companyIds": array(ID),
    "erased": _described(BOOLEAN, "Whether its data is gone."),
}
COUNTS: Final[Schema] = {
    "type": "object",
    "properties": dict.fromkeys(DeliveryState, COUNT),
    "description": "Deliveries by state.",
}

REPLAYED_STATUS: Final[Schema] = one_of("succeeded", "failed")
REPLAYED_TIME: Final[dict[str, Schema]] = {
    "from": _described(INSTANT, "Events accepted not before."),
    "to": _described(INSTANT, "Events accepted before; what is accepted after the replay was asked for is not in it."),
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": answer(
        type=_described(TEXT, "A reference that names the sort of refusal."),
        title=TEXT,
        status={"type": "integer"},
        detail=TEXT,
        instance=_described(TEXT, "The path."),
        message=_described(TEXT, "The same as `detail`."),
        validationErrors=array(answer(field=TEXT, message=TEXT)),
    ),
    "Status": answer(status=TEXT),
    "Me": answer(
        company=nullable(answer(id=ID, name=TEXT)),
        user=nullable(answer(id=ID, username=TEXT)),
        role=one_of(*Role),
    ),
    "Company": answer(
        id=ID, name=TEXT, retentionDays=nullable({"type": "integer", "minimum": 1, "maximum": 3650}), createdAt=INSTANT
    ),
    "NewCompany": request(
        ("name",), name=NAME, retentionDays=nullable({"type": "integer", "minimum": 1, "maximum": 3650})
    ),
    "CompanyChange": request(name=NAME, retentionDays=nullable({"type": "integer", "minimum": 1, "maximum": 3650})),
    "Token": answer(
        id=ID,
        companyId=nullable(ID),
        name=TEXT,
        role=one_of(*Role),
        createdAt=INSTANT,
        expiresAt=nullable(INSTANT),
    ),
    "CreatedToken": {
        "allOf": [ref("Token"), answer(token=_described(TEXT, "The token itself: shown here and never again."))]
    },
    "NewCompanyToken": request(
        ("name", "role"), name=NAME, role=one_of(Role.MEMBER, Role.VIEWER), expiresAt=nullable(INSTANT)
    ),
    "NewInstallationToken": request(
        ("name", "role"), name=NAME, role=one_of(Role.OPERATOR, Role.PUBLISHER), expiresAt=nullable(INSTANT)
    ),
    "AuditEntry": answer(
        actor=_described(TEXT, "The token that asked, by id and name; never itself."),
        action=one_of(*Action),
        target=_described(TEXT, "The id of what was changed."),
        companyId=nullable(ID),
        time=INSTANT,
    ),
    "Account": answer(
        id=ID,
        companyId=ID,
        username=TEXT,
        clientId=_described(TEXT, "For `POST /oauth2/token`."),
        hasPassword=_described(BOOLEAN, "Whether `POST /v1/login` knows it."),
        createdAt=INSTANT,
    ),
    "CreatedAccount": {"allOf": [ref("Account"), answer(clientSecret=_described(TEXT, "Shown here and never again."))]},
    "NewAccount": request(
        ("username",),
        username=_described(NAME, "Once in the whole installation."),
        password=nullable({"type": "string", "minLength": 1, "maxLength": 1024, "description": "None: no login."}),
    ),
    "NewPortalLink": request(
        (), role=_described(nullable(one_of(Role.VIEWER, Role.MEMBER)), "What the session may do; viewer if absent.")
    ),
    "PortalLink": answer(
        url=_described(TEXT, "For the browser of whoever is to be let in. What follows `#` is sent to no server."),
        expiresAt=INSTANT,
    ),
    "Login": request(("username", "password"), username=TEXT, password=TEXT),
    "LoggedIn": answer(accessToken=TEXT, tokenType=one_of("Bearer"), expiresIn=SECONDS),
    "TokenRequest": request(
        ("grant_type",),
        grant_type=one_of("client_credentials"),
        client_id=_described(TEXT, "Here with `client_secret`, or both as HTTP Basic."),
        client_secret=TEXT,
    ),
    "TokenAnswer": answer(access_token=TEXT, token_type=one_of("Bearer"), expires_in=SECONDS),
    "EventType": answer(
        name=TYPE_NAME,
        v1Name=nullable(TYPE_NAME),
        v2Name=nullable(TYPE_NAME),
        kind=one_of(*TypeKind),
        description=nullable(TEXT),
        schema=_described({}, "A JSON Schema, shown and never enforced; null for none."),
    ),
    "NewEventType": request(
        description=nullable({"type": "string", "maxLength": 2000, "pattern": r"^[^\x00]*$"}),
        schema={"type": ["object", "boolean", "null"], "description": "A JSON Schema, shown and never enforced."},
        v1Name=_described(nullable(TYPE_NAME), "Absent: the name itself. Null: V1 subscriptions never get it."),
        v2Name=_described(nullable(TYPE_NAME), "Absent: the name itself. Null: V2 subscriptions never get it."),
    ),
    "Subscription": answer(**SUBSCRIPTION),
    "CreatedSubscription": {
        "allOf": [
            ref("Subscription"),
            answer(secret=_described(TEXT, "The key of both signatures: shown here and by rotation alone.")),
        ]
    },
    "NewSubscription": request(
        ("callbackUrl",),
        callbackUrl=CALLBACK_URL,
        payloadVersion=nullable(one_of("V1", "STANDARD", "RAW")),
        **CHANGEABLE,
    ),
    "NewSubscriptionOfVersion2": request(
        ("callbackUrl",),
        callbackUrl=CALLBACK_URL,
        payloadVersion=nullable(one_of("V2")),
        **CHANGEABLE,
        **FILTERS_OF_V2,
    ),
    "SubscriptionChange": request(callbackUrl=CALLBACK_URL, active=BOOLEAN, **CHANGEABLE, **FILTERS_OF_V2),
    "Rotation": request(
        overlapSeconds=_described(
            nullable({"type": "integer", "minimum": 0, "maximum": 604_800}),
            "How long the old secret goes on signing in `webhook-signature`; a day where absent.",
        ),
        hubSignature=_described(
            nullable(one_of("new", "old")),
            "Which secret keys `X-Hub-Signature-256` during the overlap; the new one where absent.",
        ),
    ),
    "Reopened": answer(deliveryId=ID, eventId=EVENT_ID),
    "Replay": answer(
        id=ID,
        subscriptionId=_described(nullable(ID), "Null: it goes over several."),
        state=one_of(*ReplayState),
        total=_described(COUNT, "Deliveries it came to when it was asked for."),
        done=_described(COUNT, "Of these, deliveries that have had their first attempt."),
        createdAt=INSTANT,
        **{"from": INSTANT},
        to=INSTANT,
        status=nullable(REPLAYED_STATUS),
        eventTypes=nullable(array(TEXT)),
    ),
    "NewReplay": request(
        ("from", "to"),
        **REPLAYED_TIME,
        status=_described(
            nullable(REPLAYED_STATUS), "`failed`: dead deliveries alone. Absent: all, and missing ones are made."
        ),
        eventTypes=_described(
            nullable(array(TEXT, maxItems=1000)), "Names as this subscription sees them; absent, null and []: all."
        ),
    ),
    "NewWholeReplay": request(
        ("from", "to", "status"),
        **REPLAYED_TIME,
        status=REPLAYED_STATUS,
        companyId=_described(nullable(ID), "Absent: of all companies."),
    ),
    "Attempt": answer(
        id=ID,
        deliveryId=ID,
        eventId=EVENT_ID,
        cloudEventId=EVENT_ID,
        eventType=TEXT,
        **OUTCOME,
        requestBody=nullable(TEXT),
        erased=_described(BOOLEAN, "Whether its event's data is gone, and the bodies with it."),
        requestBodyTruncated=BOOLEAN,
        responseBody=nullable(TEXT),
    ),
    "AttemptPage": answer(
        content=array(ref("Attempt")), totalElements=COUNT, totalPages=COUNT, size=COUNT, number=COUNT
    ),
    "Delivery": answer(
        id=ID,
        subscriptionId=ID,
        companyId=ID,
        state=one_of(*DeliveryState),
        reason=nullable(TEXT),
        dueAt=nullable(INSTANT),
        settledAt=nullable(INSTANT),
    ),
    "DeliveryDetail": {
        "allOf": [
            ref("Delivery"),
            answer(
                eventId=EVENT_ID,
                eventType=TEXT,
                occurredAt=INSTANT,
                acceptedAt=INSTANT,
                requestBody=nullable(TEXT),
                erased=BOOLEAN,
                attempts=array(
                    answer(
                        **OUTCOME,
                        requestHead=nullable(TEXT),
                        requestBody=nullable(TEXT),
                        responseHead=nullable(TEXT),
                        responseBody=nullable(TEXT),
                        timings=TIMINGS,
                    )
                ),
            ),
        ]
    },
    "Event": answer(**EVENT, counts=COUNTS),
    "EventDetail": answer(
        **EVENT,
        counts=COUNTS,
        deliveries=array({"allOf": [ref("Delivery"), answer(attempts=array(answer(**OUTCOME)))]}, maxItems=200),
        data=_described({}, "The event's data as published; null once erased."),
        next=nullable(TEXT),
        notMatched=array(answer(subscriptionId=ID, reason=TEXT)),
    ),
    "NewEvent": request(
        ("eventType", "data"),
        eventType=TYPE_NAME,
        companyIds=_described(array(ID, minItems=1, maxItems=1000), "Exactly one of this and `recipients`."),
        recipients=array(
            request(
                ("companyId",),
                companyId=ID,
                caseDirection=nullable(one_of("INBOUND", "OUTBOUND")),
                partnerCompanyId=nullable({"type": "integer"}),
            ),
            minItems=1,
            maxItems=1000,
        ),
        data=_described({"type": "object"}, "At most 256 KiB after compaction; delivered byte for byte."),
        id=_described(EVENT_ID, "Your own id: publishing the same event twice under it stores it once."),
        occurredAt=INSTANT,
    ),
    "NewEvents": request(("events",), events=array(ref("NewEvent"), minItems=1, maxItems=1000)),
    "AcceptedEvent": answer(id=EVENT_ID, eventType=TYPE_NAME, acceptedAt=INSTANT, deliveries=COUNT),
    "AcceptedEvents": answer(events=array(answer(id=EVENT_ID, deliveries=COUNT))),
}
