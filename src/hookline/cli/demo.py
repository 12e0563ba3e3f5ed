"""`hookline demo`: the whole path in a few seconds, on a real server with a database that is thrown away."""

import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from hookline.cli.client import Client
    from hookline.cli.receiver import Received
    from hookline.clock import Clock

EXAMPLE = options.example("hookline demo")

WAITS_SECONDS = (1, 2, 3)
"""Instead of 10, 60 and 300: nobody waits six minutes to see a retry."""
FAILURES = 2
PATIENCE_SECONDS = 25
"""For everything together; on an idle machine it takes about five."""
POLL_SECONDS = 0.05


def demo(
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what is shown to this file, as SVG.")
    ] = None,
) -> None:
    """Show the path of an event: publish, fail, retry, deliver.

    Starts a server on a free port with a temporary database, and a receiver that fails twice. Ends by itself and
    leaves nothing behind.
    """
    from hookline.cli.client import Client
    from hookline.cli.console import console
    from hookline.cli.temporary import server

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # however it ends, it cleans up
    screen = console(record=picture is not None)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hookline-demo-")))
        _show(screen, Client(stack.enter_context(server(folder))), stack)
    if picture is not None:
        picture.write_text(_without_web_fonts(screen.export_svg(title="hookline demo")), encoding="utf-8")


def _show(screen: "Console", client: "Client", stack: ExitStack) -> None:
    """Subscribe, publish, watch, read the log."""
    from threading import Semaphore

    import msgspec

    from hookline.cli.deliveries import log_table
    from hookline.cli.failure import Failure
    from hookline.cli.listen import described
    from hookline.cli.receiver import Receiver
    from hookline.clock import SystemClock

    arrived = Semaphore(0)
    genuine: list[bool] = []

    def on_request(request: "Received") -> None:
        for line in described(request):
            screen.print(line, soft_wrap=True)
        genuine.append(request.checks.are_valid)
        arrived.release()

    clock = SystemClock()
    receiver = Receiver(
        host="127.0.0.1", port=0, secret=None, fail_first=FAILURES, delay_seconds=0, clock=clock, on_request=on_request
    )
    stack.callback(receiver.close)
    receiver.start()

    company = client.call("POST", "/v1/companies", body=msgspec.json.encode({"name": "Acme"}))
    wanted = {"callbackUrl": receiver.url, "retryDelaysSeconds": WAITS_SECONDS}
    subscription = client.call(
        "POST", "/v1/webhooks", query={"companyId": company["id"]}, body=msgspec.json.encode(wanted)
    )
    receiver.secret = subscription["secret"]
    screen.print(f"[bold]1.[/] A company, and its subscription to {receiver.url}")
    screen.print(
        f"   Retries wait {_listed(WAITS_SECONDS)} here, to be quick; the default is 10, 60 and 300\N{NO-BREAK SPACE}s."
        f"\n   The receiver answers 503 to the first {FAILURES} attempts."
    )
    event = client.call(
        "POST",
        "/v1/events",
        body=b'{"eventType":"note.created","companyIds":[%d],"data":{"noteToken":"a1b2c3","hours":1.10}}'
        % company["id"],
    )
    screen.print(f"\n[bold]2.[/] Published: 202, event {event['id']} is on disk. What arrives:\n")
    for _ in range(FAILURES + 1):
        if not arrived.acquire(timeout=PATIENCE_SECONDS):
            raise Failure("an attempt did not arrive in time.", "Is this machine very busy? Repeat `hookline demo`.")
    log = _log_when_done(client, subscription["id"], clock)
    screen.print("\n[bold]3.[/] The delivery log, newest first:\n")
    screen.print(log_table(log))
    if not all(genuine) or not log[0]["success"]:
        raise Failure("a signature or the delivery failed; this should not happen.")
    screen.print(
        "\nDelivered once it could be, each attempt signed and logged. Next: make run, which is hookline serve --dev"
    )


def _log_when_done(client: "Client", subscription_id: int, clock: "Clock") -> list[dict[str, Any]]:
    """Return the log once its newest row is a success: the receiver knows an attempt before the log does."""
    from threading import Event

    deadline = clock.monotonic_seconds() + PATIENCE_SECONDS
    rows: list[dict[str, Any]] = []
    while clock.monotonic_seconds() < deadline:
        rows = client.call("GET", f"/v1/webhooks/{subscription_id}/deliveries")["content"]
        if rows and rows[0]["success"]:
            break
        Event().wait(POLL_SECONDS)
    return rows


def _listed(seconds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seconds[:-1])) + f" and {seconds[-1]}\N{NO-BREAK SPACE}s"


def _without_web_fonts(svg: str) -> str:
    """Let the picture use a font of the reader's machine: nothing is loaded from elsewhere."""
    import re

    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
