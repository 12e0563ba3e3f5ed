"""`hookline top`: what a server does now, and which subscriptions fail."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from rich.console import Group

    from hookline.cli.client import Client
    from hookline.cli.metering import Reading
    from hookline.clock import Clock

EXAMPLE = options.example("hookline top --interval 2")

WINDOW_MS: Final = 5 * 60_000
"""For failing subscriptions: what failed longer ago and not since is well again."""
SUBSCRIPTIONS_MAX: Final = 50
"""Each costs a request, every few looks."""
LOOKS_BETWEEN: Final = 5
SHOWN_MAX: Final = 15


def top(
    interval: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks.")] = 1,
    count: Annotated[int, typer.Option(min=0, metavar="N", help="End after N looks. 0: after Ctrl-C.")] = 0,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Show throughput, backlog and failing subscriptions, live.

    Rates, waits and attempts in flight are those of the node that answers; the backlog is that of the database.
    """
    import signal
    from contextlib import nullcontext
    from threading import Event

    from rich.live import Live

    from hookline.cli import metering
    from hookline.cli.client import Client
    from hookline.cli.console import console, write_json_line
    from hookline.cli.patience import patiently
    from hookline.cli.target import find
    from hookline.clock import SystemClock

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    target = find(url, token, profile=profile)
    client, clock = Client(target), SystemClock()
    screen = console()
    before, at = metering.read(client.text("/metrics")), clock.monotonic_seconds()
    failing: list[dict[str, Any]] = []
    looks = 0
    live = Live(console=screen, auto_refresh=False) if screen.is_terminal and not json else None
    try:
        with live or nullcontext():
            while True:
                if looks % LOOKS_BETWEEN == 0:
                    failing = patiently(lambda: _failing(client, clock), interval)
                Event().wait(interval)
                after = metering.read(patiently(lambda: client.text("/metrics"), interval))
                now = clock.monotonic_seconds()
                figures = _figures(before, after, now - at)
                before, at = after, now
                if json:
                    write_json_line({**figures, "failing": failing})
                elif live:
                    live.update(_shown(target.url, figures, failing), refresh=True)
                else:
                    screen.print(_shown(target.url, figures, failing))
                looks += 1
                if looks == count:
                    return
    except KeyboardInterrupt:
        return


def _figures(before: "Reading", after: "Reading", seconds: float) -> dict[str, float | None]:
    from hookline.cli.metering import quantile

    def rate(name: str, **labels: str) -> float:
        return round(max(0.0, after.of(name, **labels) - before.of(name, **labels)) / seconds, 1)

    attempts, succeeded = rate("hookline_attempts_total"), rate("hookline_attempts_total", outcome="succeeded")
    wait = "hookline_first_attempt_wait_seconds"
    return {
        "publishedPerSecond": rate("hookline_events_published_total"),
        "deliveredPerSecond": succeeded,
        "failedPerSecond": round(attempts - succeeded, 1),
        "inFlight": after.of("hookline_attempts_in_flight"),
        "open": after.of("hookline_deliveries_open"),
        "oldestDueSeconds": round(after.of("hookline_oldest_due_seconds"), 1),
        "waitSecondsP50": quantile(before, after, wait, 0.5),
        "waitSecondsP99": quantile(before, after, wait, 0.99),
    }


def _failing(client: "Client", clock: "Clock") -> list[dict[str, Any]]:
    """Return subscriptions with failed attempts in the last minutes, and those made inactive by a rule; worst first."""
    from hookline.clock import rfc3339

    since = rfc3339(clock.wall_ms() - WINDOW_MS)
    found = []
    for each in client.call("GET", "/v1/webhooks", query={"payloadVersion": "ANY", "limit": SUBSCRIPTIONS_MAX}):
        path = f"/v1/webhooks/{each['id']}/deliveries"
        failed = client.call("GET", path, query={"status": "failed", "from": since, "size": 1})
        if failed["totalElements"] == 0 and each["inactiveReason"] in {None, "paused"}:
            continue
        last = failed["content"][0] if failed["content"] else None
        found.append(
            {
                "subscriptionId": each["id"],
                "callbackUrl": each["callbackUrl"],
                "failed": failed["totalElements"],
                "attempts": client.call("GET", path, query={"from": since, "size": 1})["totalElements"],
                "last": None if last is None else last["httpStatus"] or last["error"],
                "inactiveReason": each["inactiveReason"],
            }
        )
    return sorted(found, key=lambda each: -int(each["failed"]))


def _shown(url: str, figures: dict[str, float | None], failing: list[dict[str, Any]]) -> "Group":
    from rich.console import Group
    from rich.text import Text

    from hookline.cli.console import table

    rates = table(
        ("published/s", "delivered/s", "failed/s", "in flight", "open", "oldest due", "first attempt after"),
        [
            (
                f"{figures['publishedPerSecond']}",
                f"{figures['deliveredPerSecond']}",
                Text(f"{figures['failedPerSecond']}", "red" if figures["failedPerSecond"] else ""),
                f"{figures['inFlight']:,.0f}",
                f"{figures['open']:,.0f}",
                f"{figures['oldestDueSeconds']} s",
                f"p50 {_span(figures['waitSecondsP50'])}, p99 {_span(figures['waitSecondsP99'])}",
            )
        ],
    )
    rows = (
        (
            str(each["subscriptionId"]),
            f"{each['failed']} of {each['attempts']}",
            str(each["last"] or ""),
            each["inactiveReason"] or "",
            each["callbackUrl"],
        )
        for each in failing[:SHOWN_MAX]
    )
    return Group(
        Text(f"{url}   Ctrl-C ends\n", "dim"),
        rates,
        Text(),
        table(("failing", "in 5 min", "last", "inactive", "callback"), rows) if failing else Text("Nothing fails."),
    )


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds == float("inf"):
        return "> 1 h"
    return f"≤ {seconds * 1000:g} ms" if seconds < 1 else f"≤ {seconds:g} s"
