"""Forms that change something: each asks the API, and each question says what will be lost."""

import re
from typing import Any, Final, NamedTuple

import msgspec
from starlette.responses import RedirectResponse, Response

from hookline.dashboard import telling
from hookline.dashboard.acting import INVALID, Answer, ask
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.deliveries import delivery_of, path_id, subscription_of
from hookline.dashboard.frame import page
from hookline.dashboard.subscriptions import SHAPES, host_of, names_of, preset_of
from hookline.errors import Invalid, NotFound
from hookline.model import AuthType, PayloadVersion, Subscription
from hookline.retry import PRESETS

COMPANIES_OFFERED: Final = 200
CREDENTIAL_FIELDS: Final = {
    AuthType.NONE: (),
    AuthType.BASIC: ("username", "password"),
    AuthType.BEARER: ("token",),
    AuthType.HEADER: ("headerName", "headerValue"),
    AuthType.OAUTH2_CLIENT_CREDENTIALS: (
        "oauth2TokenUrl",
        "oauth2ClientId",
        "oauth2ClientSecret",
        "oauth2ClientAuthenticationMethod",
        "oauth2Scope",
    ),
}
NUMBERS: Final = ("timeoutSeconds", "maxInFlight", "ratePerSecond")
_SEPARATOR: Final = re.compile(r"[\s,]+")


class Question(NamedTuple):
    """What is asked before something is done."""

    title: str
    text: str
    keep: str
    go: str
    is_danger: bool = False


QUESTIONS: Final = {
    "pause": Question(
        "Pause this subscription?",
        "Nothing more is sent to {host}. Its events are kept as held, and go out oldest first when it is activated.",
        "Keep sending",
        "Pause",
    ),
    "delete": Question(
        "Delete this subscription?",
        "Nothing more is sent to {host}: what waits for it is cancelled, and its log can no longer be read. "
        "This cannot be undone; to stop for a while, pause it.",
        "Keep it",
        "Delete",
        is_danger=True,
    ),
    "rotate": Question(
        "Make a new signing secret?",
        "{host} gets a new secret, shown once. The old one goes on signing `webhook-signature` for a day; "
        "`X-Hub-Signature-256` uses the new one at once.",
        "Keep the secret",
        "Make a new secret",
    ),
    "redeliver": Question(
        "Send this delivery again?",
        "{host} will receive the same body with the same webhook-id; a receiver that follows the standard ignores what "
        "it has already. It gets a fresh schedule, from now on.",
        "Keep as it is",
        "Redeliver",
    ),
}

# --- a form of a subscription ----------------------------------------------------------------------------------------


async def new(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the empty form."""
    return await _form(visit, dashboard, None, None)


async def edit(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the form of what there is."""
    return await _form(visit, dashboard, await subscription_of(visit, dashboard), None)


async def create(visit: Visit, dashboard: Dashboard) -> Response:
    """Create a subscription and show its secret, once: the answer to this very request and nothing else has it."""
    try:
        body = _body(visit)
    except Invalid as error:
        return await _form(visit, dashboard, None, _of(error))
    is_v2 = body.get("payloadVersion") == PayloadVersion.V2
    query = {"companyId": visit.said("companyId")} if visit.is_operator else {}
    answer = await ask(visit, dashboard, "POST", "/v2/webhooks" if is_v2 else "/v1/webhooks", body, query=query)
    if answer.status == INVALID:
        return await _form(visit, dashboard, None, answer)
    return _secret(visit, dashboard, "Subscription created", answer)


async def change(visit: Visit, dashboard: Dashboard) -> Response:
    """Change a subscription."""
    subscription = await subscription_of(visit, dashboard)
    try:
        body = _body(visit)
    except Invalid as error:
        return await _form(visit, dashboard, subscription, _of(error))
    body.pop("payloadVersion", None)
    answer = await ask(visit, dashboard, "PATCH", f"/v1/webhooks/{subscription.id}", body)
    if answer.status == INVALID:
        return await _form(visit, dashboard, subscription, answer)
    return RedirectResponse(f"/subscriptions/{subscription.id}?done=changed", 303)


def _body(visit: Visit) -> dict[str, Any]:
    """Make the API's request of the form's fields; what is no number is left for the API to refuse."""
    said = visit.said
    which = visit.form.get("eventTypes", []) if said("which") == "these" else None
    if which == []:
        raise Invalid.field("eventTypes", "choose at least one event type, or every one.")
    body: dict[str, Any] = {
        "callbackUrl": said("callbackUrl"),
        "eventTypes": which,
        "payloadVersion": said("payloadVersion") or PayloadVersion.V1,
        "retryDelaysSeconds": _delays(said("retries"), said("delays")),
        "ordered": bool(said("ordered")),
        "filter": _filter(said("filter")),
        **{name: _number(said(name)) for name in NUMBERS},
    }
    if said("auth") not in {"", "keep"}:
        names = CREDENTIAL_FIELDS.get(AuthType(said("auth")), ()) if said("auth") in set(AuthType) else ()
        body["callbackAuth"] = {"type": said("auth"), **{name: said(name) for name in names if said(name)}}
    if said("headers"):
        body["headers"] = _headers(said("headers"))
    return body


def _number(text: str) -> int | str | None:
    if not text:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _delays(name: str, text: str) -> list[int | str | None] | str:
    if name != "custom":
        return name or "standard"
    return [_number(word) for word in _SEPARATOR.split(text) if word]


def _filter(text: str) -> msgspec.Raw | None:
    if not text:
        return None
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid.field("filter", f"is no JSON: {error}.") from None
    return msgspec.Raw(text.encode())


def _headers(text: str) -> dict[str, str]:
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    if not all(colon for _, colon, _ in pairs):
        raise Invalid.field("headers", "expected one header a line, as `Name: value`.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _of(error: Invalid) -> Answer:
    fields = [{"field": field, "message": message} for field, message in error.fields]
    return Answer(INVALID, {"detail": str(error), "validationErrors": fields})


async def _form(
    visit: Visit, dashboard: Dashboard, subscription: Subscription | None, refused: Answer | None
) -> Response:
    """Answer the form with what was typed, or else with what there is; each refusal stands at its field."""
    catalogue = await dashboard.storage.catalogue()
    companies = await dashboard.storage.companies(0, COMPANIES_OFFERED) if visit.is_operator else None
    shape = subscription.payload_version if subscription else PayloadVersion.V1
    chosen = visit.form.get("eventTypes", list(subscription.event_types or ()) if subscription else [])
    return page(
        visit,
        dashboard,
        "subscription-form.html",
        400 if refused else 200,
        subscription=subscription,
        title=f"Edit {host_of(subscription)}" if subscription else "New subscription",
        values=_typed(visit) if refused else _stored(subscription),
        chosen=chosen,
        companies=[(str(each.id), each.name) for each in companies.items] if companies else [],
        names=names_of(catalogue, shape) if subscription else _all_names(catalogue),
        shapes=list(SHAPES.items()),
        presets=list(PRESETS.items()),
        credentials=[(kind.value, names) for kind, names in CREDENTIAL_FIELDS.items()],
        errors=refused.fields if refused else {},
        detail=refused.detail if refused else "",
    )


def _all_names(catalogue: Any) -> list[str]:
    return sorted({name for shape in PayloadVersion for name in names_of(catalogue, shape)})


def _typed(visit: Visit) -> dict[str, str]:
    return {name: values[0] for name, values in visit.form.items()}


def _stored(subscription: Subscription | None) -> dict[str, str]:
    if subscription is None:
        return {}
    policies = subscription.policies
    delays = policies.retry_delays_seconds
    return {
        "callbackUrl": subscription.callback_url,
        "which": "all" if subscription.event_types is None else "these",
        "retries": preset_of(subscription),
        "delays": "" if delays is None or isinstance(delays, str) else ", ".join(map(str, delays)),
        "timeoutSeconds": str(policies.timeout_seconds),
        "maxInFlight": str(policies.max_in_flight),
        "ratePerSecond": str(policies.rate_per_second or ""),
        "ordered": "on" if policies.ordered else "",
        "filter": policies.filter or "",
        "auth": "keep",
    }


def _secret(visit: Visit, dashboard: Dashboard, title: str, answer: Answer) -> Response:
    return page(
        visit,
        dashboard,
        "secret.html",
        title=title,
        secret=answer.body["secret"],
        callback_url=answer.body["callbackUrl"],
        subscription_id=answer.body["id"],
        is_active=answer.body["active"],
    )


# --- what asks first -------------------------------------------------------------------------------------------------


async def question(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the question before an action on a subscription; its form goes to the same address."""
    asked = QUESTIONS.get(visit.part("action"))
    if asked is None:
        raise NotFound("There is no such page.")
    subscription = await subscription_of(visit, dashboard)
    return _asking(visit, dashboard, asked, host_of(subscription), f"/subscriptions/{subscription.id}")


async def ask_redelivery(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the question before a redelivery."""
    subscription = await subscription_of(visit, dashboard)
    delivery = await delivery_of(subscription, visit, dashboard)
    back = f"/subscriptions/{subscription.id}/deliveries/{delivery.id}"
    return _asking(visit, dashboard, QUESTIONS["redeliver"], host_of(subscription), back)


def _asking(visit: Visit, dashboard: Dashboard, asked: Question, host: str, back: str) -> Response:
    return page(
        visit,
        dashboard,
        "confirm.html",
        title=asked.title,
        question=asked,
        text=telling.with_code(asked.text.format(host=host.replace("`", "'"))),
        action=visit.request.url.path,
        back=back,
    )


async def redeliver(visit: Visit, dashboard: Dashboard) -> Response:
    """Open a delivery again."""
    subscription_id, delivery_id = path_id(visit, "id"), path_id(visit, "deliveryId")
    await ask(visit, dashboard, "POST", f"/v1/webhooks/{subscription_id}/deliveries/{delivery_id}/redeliver")
    return RedirectResponse(f"/subscriptions/{subscription_id}/deliveries/{delivery_id}?done=redelivered", 303)


async def act(visit: Visit, dashboard: Dashboard) -> Response:
    """Do what was asked for to a subscription."""
    number = path_id(visit, "id")
    path, back = f"/v1/webhooks/{number}", f"/subscriptions/{number}"
    match visit.part("action"):
        case "pause":
            await ask(visit, dashboard, "PATCH", path, {"active": False})
            return RedirectResponse(f"{back}?done=paused", 303)
        case "activate":
            await ask(visit, dashboard, "PATCH", path, {"active": True})
            return RedirectResponse(f"{back}?done=activated", 303)
        case "ping":
            answer = await ask(visit, dashboard, "POST", f"{path}/ping")
            return RedirectResponse(f"{back}/deliveries/{answer.body['deliveryId']}?done=pinged", 303)
        case "delete":
            await ask(visit, dashboard, "DELETE", path)
            return RedirectResponse("/subscriptions?done=deleted", 303)
        case "rotate":
            return _secret(
                visit, dashboard, "New signing secret", await ask(visit, dashboard, "POST", f"{path}/secret")
            )
        case _:
            raise NotFound("There is no such page.")
