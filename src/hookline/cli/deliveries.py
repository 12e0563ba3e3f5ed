"""`hookline deliveries`: the delivery log of a subscription."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from hookline.cli.client import Client

EXAMPLE = options.example("hookline deliveries 1730265714 --status failed")


class Status(StrEnum):
    """Which attempts to show."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


def deliveries(
    subscription: Annotated[
        int | None, typer.Argument(metavar="SUBSCRIPTION", help="Its id; may be left out where there is only one.")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only these attempts.")] = None,
    event_type: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this type, by the name that the subscription knows.")
    ] = None,
    page: Annotated[int, typer.Option(min=0, metavar="N", help="From 0.")] = 0,
    size: Annotated[int, typer.Option(min=1, max=200, metavar="N", help="Rows a page.")] = 20,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Show the attempts to a subscription, newest first."""
    from hookline.cli.client import Client
    from hookline.cli.console import console, note, write_json
    from hookline.cli.target import find

    client = Client(find(url, token, profile=profile))
    found = client.call(
        "GET",
        f"/v1/webhooks/{_only_subscription(client) if subscription is None else subscription}/deliveries",
        query={"status": status, "eventType": event_type, "page": page, "size": size},
    )
    if json:
        write_json(found)
        return
    if not found["content"]:
        note("No attempt is logged here." if found["totalElements"] == 0 else "This page is past the end.")
        return
    screen = console()
    screen.print(log_table(found["content"]))
    total, last_page = found["totalElements"], found["totalPages"] - 1
    shown = f"page {found['number']} of 0 to {last_page}" if last_page else "all shown"
    screen.print(f"\n{total} {'attempt' if total == 1 else 'attempts'}, {shown}")


def log_table(rows: list[dict[str, Any]]) -> "Table":
    """Lay out rows of the log for people."""
    from rich.text import Text

    from hookline.cli.console import moment, table

    def result(row: dict[str, Any]) -> Text:
        if row["success"]:
            return Text(f"✓ {row['httpStatus']}", "green")
        answer = row["httpStatus"] if row["httpStatus"] is not None else row["error"]
        return Text(f"✗ {answer}", "red")

    def then(row: dict[str, Any]) -> str:
        if row["success"]:
            return "delivered"
        if row["deadLettered"]:
            return "dead: no retry is left"
        return f"next at {row['nextAttemptAt'][11:23]}" if row["nextAttemptAt"] else ""

    return table(
        ("recorded (UTC)", "event", "type", "attempt", "answer", "took", "then"),
        (
            (
                moment(row["createdAt"]),
                row["eventId"],
                row["eventType"],
                str(row["attemptNumber"]),
                result(row),
                f"{row['durationMs']}\N{NO-BREAK SPACE}ms",
                then(row),
            )
            for row in rows
        ),
    )


def _only_subscription(client: "Client") -> int:
    """Return the id of the only subscription that the token sees."""
    from hookline.cli.failure import EXIT_USAGE, Failure

    found = client.call("GET", "/v1/webhooks", query={"payloadVersion": "ANY"})
    if not found:
        raise Failure("there is no subscription yet.", "`hookline listen --create` makes one with a receiver here.")
    if len(found) > 1:
        ids = "\n  ".join(f"{row['id']}  {row['callbackUrl']}" for row in found[:20])
        raise Failure(
            f"there are {len(found)} subscriptions:\n  {ids}", "Say which: hookline deliveries ID", EXIT_USAGE
        )
    return int(found[0]["id"])
