"""`hookline events`: what was published, and what became of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hookline.cli import options
from hookline.model import DeliveryState

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = options.example("hookline events --state dead --from 2026-11-24T00:00:00Z")


def events(
    event_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show this one, with each of its deliveries.")
    ] = None,
    event_type: Annotated[str | None, typer.Option("--event-type", metavar="NAME", help="Only this type.")] = None,
    company: Annotated[
        int | None, typer.Option("--company", metavar="ID", help="Only events for this company.")
    ] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="Only events with a delivery in this state.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Accepted then or later, as in 2026-11-24T00:00:00Z.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Accepted before.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="At most so many.")] = 50,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Show events, newest first, or one event and where it went."""
    from urllib.parse import quote

    from hookline.cli.client import Client
    from hookline.cli.console import console, note, write_json
    from hookline.cli.target import find

    client = Client(find(url, token, profile=profile))
    if event_id is not None:
        found = client.call("GET", f"/v1/events/{quote(event_id, safe='')}", query={"companyId": company})
        if json:
            write_json(found)
        else:
            _show_one(console(), found)
        return
    asked = {"eventType": event_type, "companyId": company, "state": state, "from": from_, "to": to, "limit": limit}
    found = client.call("GET", "/v1/events", query=asked)
    if json:
        write_json(found)
    elif found["items"]:
        _show_list(console(), found["items"])
        if found["next"] is not None:
            note(f"These are the newest {limit}; --to {found['items'][-1]['acceptedAt']} shows those before.")
    else:
        note("There is no such event. `hookline publish` makes one.")


def _show_list(screen: "Console", items: list[dict[str, Any]]) -> None:
    from hookline.cli.console import moment, table

    rows = ((moment(item["acceptedAt"]), item["id"], item["eventType"], _states(item["counts"])) for item in items)
    screen.print(table(("accepted (UTC)", "event", "type", "deliveries"), rows))


def _show_one(screen: "Console", event: dict[str, Any]) -> None:
    from hookline.cli.console import moment, table

    companies = ", ".join(map(str, event["companyIds"]))
    screen.print(f"{event['id']}  {event['eventType']}  accepted {moment(event['acceptedAt'])}  companies {companies}")
    if event["erased"]:
        screen.print("Its data is erased.")
    if event["deliveries"]:
        rows = (
            (
                str(each["id"]),
                str(each["subscriptionId"]),
                each["state"],
                str(len(each["attempts"])),
                _last_answer(each["attempts"]),
                _then(each),
            )
            for each in event["deliveries"]
        )
        screen.print()
        screen.print(table(("delivery", "subscription", "state", "attempts", "last answer", "then"), rows))
        if event["next"] is not None:
            screen.print("There are more deliveries than fit here: --json, or GET /v1/events/{id}?cursor=.")
    else:
        screen.print("No subscription got it.")
    for each in event["notMatched"]:
        screen.print(f"subscription {each['subscriptionId']}: {each['reason']}")


def _states(counts: dict[str, int]) -> str:
    shown = [f"{count} {state}" for state, count in counts.items() if count]
    return ", ".join(shown) or "none"


def _last_answer(attempts: list[dict[str, Any]]) -> str:
    if not attempts:
        return ""
    last = max(attempts, key=lambda each: int(each["attemptNumber"]))
    return str(last["httpStatus"] if last["httpStatus"] is not None else last["error"])


def _then(delivery: dict[str, Any]) -> str:
    from hookline.cli.console import moment

    if delivery["reason"]:
        return str(delivery["reason"])
    return f"due {moment(delivery['dueAt'])}" if delivery["dueAt"] else ""
