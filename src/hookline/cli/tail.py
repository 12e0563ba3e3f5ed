"""`hookline tail`: attempts as they are logged, until Ctrl-C."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hookline.cli import options
from hookline.cli.deliveries import Status

if TYPE_CHECKING:
    from hookline.cli.client import Client

EXAMPLE = options.example("hookline tail --status failed")

PAGE: Final = 200
REMEMBERED: Final = 2_000
"""Ids of rows already shown, of each subscription. Rows of nodes that commit at the same moment may appear out of
order, so the highest id seen says nothing of those below it."""
SUBSCRIPTIONS_MAX: Final = 50
"""Each costs a request at every look."""


def tail(
    subscription: Annotated[
        int | None, typer.Argument(metavar="[SUBSCRIPTION]", help="Its id; without one, all that the token may see.")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only these attempts.")] = None,
    event_type: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this type, by the name that the subscription knows.")
    ] = None,
    company: Annotated[
        int | None, typer.Option("--company", metavar="ID", help="For operators: subscriptions of this company.")
    ] = None,
    lines: Annotated[int, typer.Option(min=0, max=PAGE, metavar="N", help="Begin with the last N of each.")] = 5,
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks.")] = 1,
    count: Annotated[int, typer.Option(min=0, metavar="N", help="End after N attempts. 0: after Ctrl-C.")] = 0,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Follow the delivery log: print each attempt once it is logged, oldest first."""
    import signal
    from functools import partial
    from threading import Event

    from hookline.cli.client import Client
    from hookline.cli.console import console, note, write_json_line
    from hookline.cli.patience import patiently
    from hookline.cli.target import find

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    client = Client(find(url, token, profile=profile))
    followed = _subscriptions(client, subscription, company)
    query = {"status": status, "eventType": event_type, "size": PAGE}
    logs: dict[int, _Log] = {}
    screen = console()
    left, first = count or None, lines
    note("Following. Ctrl-C ends it.")
    try:
        while True:
            for subscription_id in followed:
                log = logs.setdefault(subscription_id, _Log(client, subscription_id, query))
                for row in patiently(partial(log.new_rows, first), interval):
                    if json:
                        write_json_line({"subscriptionId": subscription_id, **row})
                    else:
                        screen.print(_line(subscription_id, row), soft_wrap=True)
                    if left is not None:
                        left -= 1
                        if left == 0:
                            return
            first = PAGE  # a subscription that is made from now on has no past to leave out
            Event().wait(interval)
            followed = patiently(lambda: _subscriptions(client, subscription, company), interval)
    except KeyboardInterrupt:
        return


class _Log:
    """What has been shown of one subscription's log."""

    def __init__(self, client: "Client", subscription_id: int, query: Mapping[str, object]) -> None:
        self._client = client
        self._path = f"/v1/webhooks/{subscription_id}/deliveries"
        self._query = query
        self._seen: OrderedDict[int, None] | None = None

    def new_rows(self, lines_at_first: int) -> list[dict[str, Any]]:
        """Return rows that were not returned before, oldest first; at first the last few alone."""
        if self._seen is None:
            self._seen = OrderedDict()
            rows = self._page(None)
            self._remember(rows)
            return rows[:lines_at_first][::-1]
        new = list(self._walk(self._seen))
        self._remember(new)
        return new[::-1]

    def _walk(self, seen: OrderedDict[int, None]) -> Iterator[dict[str, Any]]:
        """Go back, page by page, until one holds a row that is known, or there is none."""
        before: int | None = None
        while rows := self._page(before):
            yield from (row for row in rows if row["id"] not in seen)
            if len(rows) < PAGE or any(row["id"] in seen for row in rows):
                return
            before = rows[-1]["id"]

    def _page(self, before: int | None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._client.call("GET", self._path, query={**self._query, "beforeId": before})[
            "content"
        ]
        return rows

    def _remember(self, rows: list[dict[str, Any]]) -> None:
        if self._seen is None:
            return
        for row in reversed(rows):
            self._seen[row["id"]] = None
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


def _subscriptions(client: "Client", subscription: int | None, company: int | None) -> list[int]:
    """Return the one that was named, or all there are now: new ones are followed from their first attempt."""
    from hookline.cli.failure import EXIT_USAGE, Failure

    if subscription is not None:
        return [subscription]
    found = client.call("GET", "/v1/webhooks", query={"payloadVersion": "ANY", "companyId": company})
    if len(found) > SUBSCRIPTIONS_MAX:
        raise Failure(
            f"there are more than {SUBSCRIPTIONS_MAX} subscriptions.",
            "Say which to follow: hookline tail ID, or --company ID.",
            EXIT_USAGE,
        )
    return [int(row["id"]) for row in found]


def _line(subscription_id: int, row: dict[str, Any]) -> str:
    from rich.markup import escape

    answer = row["httpStatus"] if row["httpStatus"] is not None else row["error"]
    colour, mark = ("green", "✓") if row["success"] else ("red", "✗")
    took = f"{row['durationMs']}\N{NO-BREAK SPACE}ms"
    return (
        escape(f"{row['createdAt'][11:23]}  {subscription_id}  {row['eventId']}  {row['eventType']}")
        + f"  attempt {row['attemptNumber']}  [{colour}]{mark} {answer}[/]  {took}{_then(row)}"
    )


def _then(row: dict[str, Any]) -> str:
    if row["success"]:
        return ""
    if row["deadLettered"]:
        return "  dead: no retry is left"
    return f"  next at {row['nextAttemptAt'][11:23]}" if row["nextAttemptAt"] else ""
