"""`hookline listen`: a receiver on this machine that checks what arrives and prints it."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookline.cli.receiver import Received, Receiver

EXAMPLE = options.example("hookline listen --create --fail 2")

COMPANY_NAME = "listen"
"""The company that `--create` uses, made once."""

WAIT_SECONDS = 1
"""A signal that comes in the instant before a wait begins is not seen until the wait ends."""


def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="Port; 0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        str | None, typer.Option(envvar="HOOKLINE_SECRET", metavar="SECRET", help="The subscription's whsec_… secret.")
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make the subscription too (needs a development server); ends with this.")
    ] = False,
    company: Annotated[
        int | None, typer.Option("--company", metavar="ID", help="For --create: whose. Default: one named listen.")
    ] = None,
    fail: Annotated[int, typer.Option(min=0, metavar="N", help="Answer 503 to the first N of each webhook-id.")] = 0,
    delay: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait so long before each answer.")] = 0,
    forward_to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Hand genuine deliveries on to this program, and answer what it answers; 502 without it.",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=0, metavar="N", help="End after N requests. 0: after Ctrl-C.")] = 0,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Receive, check and print deliveries on this machine.

    Exit code 1 with --count if any signature that could be checked was not valid.
    """
    import signal

    from hookline.cli.console import note
    from hookline.cli.failure import Failure

    _check_secret(secret, create=create)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways to end clean up alike
    report = _Report(count, as_json=json)
    receiver = _receiver(host, port, secret, fail, delay, report, forward_to)
    receiver.start()
    try:
        with _subscription(receiver, company, (url, token, profile), wanted=create):
            note(f"Listening on {receiver.url}" + ("" if receiver.secret else " without --secret: nothing is checked"))
            while not report.is_complete:
                receiver.answered.acquire(timeout=WAIT_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        receiver.close()
    if count and not report.all_genuine:
        raise Failure("not every signature was valid.", "Is --secret the one of this subscription?")


class _Report:
    """Prints what arrives, and remembers whether all of it was genuine."""

    def __init__(self, count: int, *, as_json: bool) -> None:
        from hookline.cli.console import console

        self._left = count or None
        self._as_json = as_json
        self._screen = console()
        self.all_genuine = True

    @property
    def is_complete(self) -> bool:
        """Whether as many requests came as were asked for."""
        return self._left == 0

    def __call__(self, request: "Received") -> None:
        from hookline.cli.console import write_json_line
        from hookline.cli.verification import Check

        if self.is_complete:
            return
        self.all_genuine &= request.checks.are_valid or request.checks.hub is Check.UNCHECKED
        if self._as_json:
            write_json_line(shown(request))
        else:
            for line in described(request):
                self._screen.print(line, soft_wrap=True)
        if self._left is not None:
            self._left -= 1


def described(request: "Received") -> "Iterator[str]":
    """Tell a person about one request: what came, whether it is genuine, what was answered."""
    from rich.markup import escape

    from hookline.clock import rfc3339

    clock = rfc3339(request.at)[11:23]
    mark, colour = ("✓", "green") if 200 <= request.status <= 299 else ("✗", "red")
    yield escape(f"{clock}  {request.webhook_id or 'no webhook-id'}  attempt {request.attempt or '?'}")
    yield (
        f"  X-Hub-Signature-256 {_marked(request.checks.hub)}   webhook-signature {_marked(request.checks.standard)}"
        f"   answered [{colour}]{mark} {request.status}[/]"
    )
    yield escape("  " + request.body.decode("utf-8", "replace"))


def shown(request: "Received") -> dict[str, object]:
    """Tell a program about one request."""
    from hookline.clock import rfc3339

    return {
        "receivedAt": rfc3339(request.at),
        "path": request.path,
        "webhookId": request.webhook_id,
        "attempt": request.attempt,
        "hubSignature": request.checks.hub,
        "standardSignature": request.checks.standard,
        "answered": request.status,
        "headers": dict(request.headers),
        "body": request.body.decode("utf-8", "replace"),
    }


def _marked(check: str) -> str:
    colour = {"valid": "green", "unchecked": "yellow"}.get(check, "red")
    return f"[{colour}]{'✓' if check == 'valid' else '·' if check == 'unchecked' else '✗'} {check}[/]"


def _check_secret(secret: str | None, *, create: bool) -> None:
    from hookline.cli.failure import EXIT_USAGE, Failure
    from hookline.cli.verification import is_secret

    if secret is not None and create:
        raise Failure("--secret and --create exclude each other.", "--create brings the secret along.", EXIT_USAGE)
    if secret is not None and not is_secret(secret):
        raise Failure(
            "--secret does not read like whsec_ and base64.",
            "It is in the answer that made the subscription.",
            EXIT_USAGE,
        )


def _receiver(
    host: str, port: int, secret: str | None, fail: int, delay: float, report: _Report, forward_to: str | None
) -> "Receiver":
    from hookline.cli.failure import Failure
    from hookline.cli.forwarding import Forwarder
    from hookline.cli.receiver import Receiver
    from hookline.clock import SystemClock

    forward = None if forward_to is None else Forwarder(forward_to)
    try:
        return Receiver(
            host=host,
            port=port,
            secret=secret,
            fail_first=fail,
            delay_seconds=delay,
            clock=SystemClock(),
            on_request=report,
            forward=forward,
        )
    except OSError as error:
        raise Failure(
            f"cannot listen on {host} port {port}: {error.strerror}.", "--port 0 takes a free one."
        ) from error


@contextmanager
def _subscription(
    receiver: "Receiver", company_id: int | None, server: tuple[str | None, str | None, str | None], *, wanted: bool
) -> "Iterator[None]":
    """Make a subscription that leads to the receiver, and remove it again."""
    if not wanted:
        yield
        return
    import msgspec

    from hookline.cli.client import Client, all_items
    from hookline.cli.console import note
    from hookline.cli.first_steps import program_name
    from hookline.cli.target import find

    url, token, profile = server
    client = Client(find(url, token, profile=profile))
    if company_id is None:
        named = [row["id"] for row in all_items(client, "/v1/companies") if row["name"] == COMPANY_NAME]
        body = msgspec.json.encode({"name": COMPANY_NAME})
        company_id = named[0] if named else client.call("POST", "/v1/companies", body=body)["id"]
    made = client.call(
        "POST",
        "/v1/webhooks",
        query={"companyId": company_id},
        body=msgspec.json.encode({"callbackUrl": receiver.url}),
    )
    receiver.secret = made["secret"]
    note(f"Subscription {made['id']} of company {company_id} leads here until this ends. To see a delivery:")
    note(f'  {program_name()} publish note.created --company {company_id} --data \'{{"text":"hello"}}\'')
    try:
        yield
    finally:
        client.call("DELETE", f"/v1/webhooks/{made['id']}")
