"""Replays: what a subscription had or missed in some time, sent again at a pace that its other events do not feel."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field
from starlette.requests import Request
from starlette.responses import Response

from hookline import replays
from hookline.api.answers import instant, json_response, no_content
from hookline.api.context import Api
from hookline.api.reading import (
    ID_MAX,
    Instant,
    change_of,
    may_see,
    milliseconds,
    no_such_id,
    path_id,
    read_json,
)
from hookline.api.webhooks import subscription_of
from hookline.errors import Conflict, Invalid
from hookline.model import Action, DeliveryState, PayloadVersion, Replay
from hookline.storage.claims import NewReplay

TYPE_NAMES_MAX: Final = 1_000
STATUSES: Final = {"succeeded": DeliveryState.SUCCEEDED, "failed": DeliveryState.DEAD}
"""What the API calls the states that a replay can be narrowed to."""
NAMES: Final = {state: name for name, state in STATUSES.items()}

Status = Literal["succeeded", "failed"]
CompanyId = Annotated[int, Meta(ge=1, le=ID_MAX)]


class ReplayRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a member asks for."""

    from_: Instant = field(name="from")
    to: Instant
    status: Status | None = None
    event_types: Annotated[list[str], Meta(max_length=TYPE_NAMES_MAX)] | None = None


class WholeReplayRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """What an operator asks for; the status must be said, as nobody wants everything sent to everybody by default."""

    from_: Instant = field(name="from")
    to: Instant
    status: Status
    company_id: CompanyId | None = None


async def create(request: Request, api: Api) -> Response:
    """Answer 202 once a replay of one subscription is counted and on disk."""
    subscription = await subscription_of(request, api)
    body = await read_json(request, ReplayRequest)
    from_at, to_at = _time(body.from_, body.to)
    is_v2 = subscription.payload_version is PayloadVersion.V2
    made = await api.storage.create_replay(
        NewReplay(
            subscription_id=subscription.id,
            company_id=subscription.company_id,
            from_at=from_at,
            to_at=to_at,
            status=None if body.status is None else STATUSES[body.status],
            type_names=tuple(body.event_types) if body.event_types else None,
            source=api.settings.event_source if is_v2 else None,
        ),
        change=change_of(request, Action.REPLAY_STARTED, None, subscription.company_id),
    )
    if made is None:
        raise Conflict(
            f"{replays.RUNNING_MAX} replays of the subscription are running, as many as may. Wait until one is done, "
            "or cancel it: DELETE /v1/replays/{id}."
        )
    return json_response(shown(made), 202)


async def create_over_all(request: Request, api: Api) -> Response:
    """Answer 202 once a replay over all subscriptions, or all of one company, is counted and on disk."""
    body = await read_json(request, WholeReplayRequest)
    from_at, to_at = _time(body.from_, body.to)
    if body.company_id is not None and await api.storage.company(body.company_id) is None:
        raise Invalid.field("companyId", f"there is no company {body.company_id}.")
    made = await api.storage.create_replay(
        NewReplay(
            subscription_id=None,
            company_id=body.company_id,
            from_at=from_at,
            to_at=to_at,
            status=STATUSES[body.status],
        ),
        change=change_of(request, Action.REPLAY_STARTED, None, body.company_id),
    )
    if made is None:
        raise RuntimeError("a replay over several subscriptions was refused for those of one")
    return json_response(shown(made), 202)


async def show(request: Request, api: Api) -> Response:
    """Answer how far a replay has come."""
    return json_response(shown(await _found(request, api)))


async def cancel(request: Request, api: Api) -> Response:
    """End a replay; what it has opened and nobody has sent yet is as it was before."""
    replay = await _found(request, api)
    cancelled = change_of(request, Action.REPLAY_CANCELLED, replay.id, replay.company_id)
    await api.storage.cancel_replay(replay.id, change=cancelled)
    return no_content()


def shown(replay: Replay) -> dict[str, Any]:
    """Show a replay with what was asked for."""
    return {
        "id": replay.id,
        "subscriptionId": replay.subscription_id,
        "state": replay.state,
        "total": replay.total,
        "done": replay.done,
        "createdAt": instant(replay.created_at),
        "from": instant(replay.from_at),
        "to": instant(replay.to_at),
        "status": None if replay.status is None else NAMES[replay.status],
        "eventTypes": replay.type_names,
    }


async def _found(request: Request, api: Api) -> Replay:
    replay = await api.storage.replay(path_id(request))
    if replay is None or not may_see(request, replay.company_id):
        raise no_such_id()
    return replay


def _time(begin: datetime, end: datetime) -> tuple[int, int]:
    from_at, to_at = milliseconds(begin, "from"), milliseconds(end, "to")
    if from_at >= to_at:
        raise Invalid.field("to", "must be later than `from`: events from `from` up to, and not at, `to` are replayed.")
    return from_at, to_at
