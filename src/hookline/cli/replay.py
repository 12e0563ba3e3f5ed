"""`hookline replay`: send again what a subscription had or missed, and watch it go."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from hookline.cli.client import Client

EXAMPLE = options.example("hookline replay 1730265714 --from 2026-11-24T08:00:00Z --to 2026-11-24T09:30:00Z")

POLL_SECONDS: Final = 0.5
RUNNING: Final = "running"


class Status(StrEnum):
    """Which deliveries to send again."""

    FAILED = "failed"
    SUCCEEDED = "succeeded"


def replay(
    subscription: Annotated[
        int | None, typer.Argument(metavar="[SUBSCRIPTION]", help="Its id. Not with --all, --watch or --cancel.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Events accepted then or later: 2026-11-24T08:00:00Z.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Events accepted before. Default: now.")
    ] = None,
    status: Annotated[
        Status | None, typer.Option(help="Only such deliveries; without it also events that it never got.")
    ] = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option("--event-type", metavar="NAME", help="Only this type, as the subscription names it; repeatable."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="For operators: over all subscriptions. Needs --status.")] = False,
    company: Annotated[int | None, typer.Option("--company", metavar="ID", help="With --all: of this company.")] = None,
    watch: Annotated[int | None, typer.Option(metavar="REPLAY", help="Watch one that is running.")] = None,
    cancel: Annotated[int | None, typer.Option(metavar="REPLAY", help="Cancel one that is running.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start it and return.")] = False,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Replay events of some time, at a pace that other deliveries do not feel; show progress until it is done.

    Ctrl-C ends only the watching.
    """
    from hookline.cli.client import Client
    from hookline.cli.console import note, write_json
    from hookline.cli.failure import EXIT_USAGE, Failure
    from hookline.cli.target import find

    if sum(each is not None for each in (subscription, watch, cancel)) + all_ != 1:
        raise Failure(
            "say one of SUBSCRIPTION, --all, --watch and --cancel.",
            "`hookline deliveries` helps to find the subscription.",
            EXIT_USAGE,
        )
    if (subscription is not None or all_) and from_ is None:
        raise Failure("--from is missing.", "It should read like 2026-11-24T08:00:00Z.", EXIT_USAGE)
    if all_ and status is None:
        raise Failure("--all needs --status.", "--status failed sends again what is dead.", EXIT_USAGE)
    client = Client(find(url, token, profile=profile))
    if cancel is not None:
        client.call("DELETE", f"/v1/replays/{cancel}")
        if not json:
            note(f"Replay {cancel} is cancelled; what had not started is as it was before.")
            return
        found = client.call("GET", f"/v1/replays/{cancel}")
    else:
        wanted = {"from": from_, "to": to or _now(), "status": status, "eventTypes": event_type, "companyId": company}
        found = _begin(client, subscription, watch, wanted)
        if not no_wait:
            found = _watch(client, found)
    if json:
        write_json(found)
    elif found["state"] == RUNNING:
        note(f"Replay {found['id']} is running: {found['done']} of {found['total']} deliveries.")
        note(f"To see it: hookline replay --watch {found['id']}")
    else:
        note(f"Replay {found['id']} is {found['state']}: {found['done']} of {found['total']} deliveries.")


def _begin(client: "Client", subscription: int | None, watch: int | None, wanted: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any]
    body = msgspec.json.encode({name: value for name, value in wanted.items() if value is not None})
    if watch is not None:
        found = client.call("GET", f"/v1/replays/{watch}")
    elif subscription is None:
        found = client.call("POST", "/v1/replays", body=body)
    else:
        company_id = client.call("GET", f"/v1/webhooks/{subscription}").get("companyId")
        found = client.call("POST", f"/v1/webhooks/{subscription}/replay", query={"companyId": company_id}, body=body)
    return found


def _watch(client: "Client", found: dict[str, Any]) -> dict[str, Any]:
    """Show a bar, where there is a terminal, until the replay has ended or nobody wants to watch."""
    from threading import Event

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hookline.cli.patience import patiently

    path = f"/v1/replays/{found['id']}"
    columns = (TextColumn("replay {task.fields[name]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", name=found["id"], total=found["total"], completed=found["done"])
        try:
            while found["state"] == RUNNING:
                Event().wait(POLL_SECONDS)
                found = patiently(lambda: client.call("GET", path), POLL_SECONDS)
                progress.update(bar, completed=found["done"], total=found["total"])
        except KeyboardInterrupt:
            pass
    return found


def _now() -> str:
    from hookline.clock import SystemClock, rfc3339

    return rfc3339(SystemClock().wall_ms())
