"""Replays: what a subscription had or missed in some time, asked for, watched and cancelled."""

from typing import Final

from starlette.responses import RedirectResponse, Response

from hookline.clock import rfc3339
from hookline.dashboard import words, zones
from hookline.dashboard.acting import INVALID, Answer
from hookline.dashboard.acting import ask as ask_api
from hookline.dashboard.context import Dashboard, Visit
from hookline.dashboard.deliveries import path_id, subscription_of
from hookline.dashboard.events import NOTHING
from hookline.dashboard.frame import page
from hookline.dashboard.subscriptions import host_of
from hookline.errors import NotFound
from hookline.model import ReplayState

HOUR_MS: Final = 3_600_000
STATUSES: Final = (
    ("failed", "Dead deliveries only"),
    ("succeeded", "Those that succeeded"),
    ("", "All, and those that were never made"),
)


async def ask(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer the form: which time, and which deliveries of it."""
    return await _form(visit, dashboard, None)


async def start(visit: Visit, dashboard: Dashboard) -> Response:
    """Start a replay and go where its progress is shown."""
    number = path_id(visit, "id")
    body = {"from": _instant(visit.said("from")), "to": _instant(visit.said("to"))}
    if visit.said("status"):
        body["status"] = visit.said("status")
    answer = await ask_api(visit, dashboard, "POST", f"/v1/webhooks/{number}/replay", body)
    if answer.status == INVALID:
        return await _form(visit, dashboard, answer)
    return RedirectResponse(f"/replays/{answer.body['id']}", 303)


async def show(visit: Visit, dashboard: Dashboard) -> Response:
    """Answer how far a replay has come."""
    replay = await dashboard.storage.replay(path_id(visit, "id"))
    if replay is None or visit.company_id not in {None, replay.company_id}:
        raise NotFound(NOTHING)
    is_running = replay.state is ReplayState.RUNNING
    return page(
        visit,
        dashboard,
        "replay.html",
        replay=replay,
        title=f"Replay: {replay.done:,} of {replay.total:,} sent" if is_running else f"The replay is {replay.state}",
        is_running=is_running,
    )


async def cancel(visit: Visit, dashboard: Dashboard) -> Response:
    """End a replay; what it has opened and nobody has sent yet is as it was before."""
    number = path_id(visit, "id")
    await ask_api(visit, dashboard, "DELETE", f"/v1/replays/{number}")
    return RedirectResponse(f"/replays/{number}", 303)


async def _form(visit: Visit, dashboard: Dashboard, refused: Answer | None) -> Response:
    subscription = await subscription_of(visit, dashboard)
    now = dashboard.clock.wall_ms()
    return page(
        visit,
        dashboard,
        "replay-form.html",
        400 if refused else 200,
        title="Replay deliveries",
        subscription=subscription,
        host=host_of(subscription),
        begin=visit.said("from") or words.field(now - HOUR_MS),
        end=visit.said("to") or words.field(now),
        statuses=STATUSES,
        status=visit.said("status") if refused else "failed",
        detail=refused.detail if refused else "",
    )


def _instant(text: str) -> str:
    """Return what a field of date and time says, for the API; what is none is left for it to refuse."""
    try:
        return rfc3339(zones.read_field(text))
    except ValueError:
        return text
