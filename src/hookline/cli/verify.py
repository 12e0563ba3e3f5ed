"""`hookline verify`: whether a request that one has at hand is genuine, and if not, why."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hookline.cli import options

if TYPE_CHECKING:
    from hookline.cli.verification import Checks

EXAMPLE = options.example(
    "hookline verify body.json --headers head.txt --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

TIMESTAMP = "webhook-timestamp"


def verify(
    body: Annotated[
        str, typer.Argument(metavar="FILE", help="The exact bytes of the body; - is standard input.")
    ] = "-",
    secret: Annotated[
        str, typer.Option(envvar="HOOKLINE_SECRET", metavar="SECRET", help="The subscription's whsec_… secret.")
    ] = "",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="LINE", help="As in 'webhook-id: evt_1'; repeatable.")
    ] = None,
    headers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of such lines; the first may be a request line.")
    ] = None,
    any_age: Annotated[
        bool, typer.Option("--any-age", help="Accept any webhook-timestamp, for a request out of a log.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Check the signatures of one request: X-Hub-Signature-256, webhook-signature, or both.

    Exit code 0 if there is one and each that is there is valid, else 1. Nothing leaves this machine.
    """
    from hookline.cli.console import console, write_json
    from hookline.cli.failure import EXIT_USAGE, Failure
    from hookline.cli.verification import is_secret
    from hookline.cli.verification import verify as check
    from hookline.clock import SystemClock

    if not is_secret(secret):
        raise Failure(
            "--secret does not read like whsec_ and base64.",
            "It is in the answer that made the subscription.",
            EXIT_USAGE,
        )
    found = _headers([*(header or ()), *_lines(headers)])
    content = _content(body)
    now = SystemClock().wall_ms() // 1000
    stamp = found.get(TIMESTAMP, "")
    at = int(stamp) if any_age and stamp.isascii() and stamp.isdigit() and len(stamp) <= 12 else now
    checks = check(secret, found, content, at)
    if json:
        write_json({"hubSignature": checks.hub, "standardSignature": checks.standard, "valid": _is_genuine(checks)})
    else:
        screen = console()
        screen.print(f"X-Hub-Signature-256  {_marked(checks.hub)}")
        screen.print(f"webhook-signature    {_marked(checks.standard)}")
    if not _is_genuine(checks):
        message, next_step = _why(checks, lambda other: check(secret, found, other, at), content, stamp, now)
        raise Failure(message, next_step)


def _is_genuine(checks: "Checks") -> bool:
    from hookline.cli.verification import Check

    there = [each for each in checks if each is not Check.MISSING]
    return bool(there) and all(each is Check.VALID for each in there)


def _why(checks: "Checks", check: Callable[[bytes], "Checks"], body: bytes, stamp: str, now: int) -> tuple[str, str]:
    """Tell the commonest mistakes from a wrong secret, by trying what would mend them."""
    from hookline.cli.verification import Check

    if set(checks) == {Check.MISSING}:
        return (
            "the request carries no signature.",
            "Give its headers: -H 'X-Hub-Signature-256: sha256=…', or webhook-id, -timestamp and -signature.",
        )
    if Check.WRONG not in checks:
        age = f"{now - int(stamp)} s old" if stamp.isdigit() and len(stamp) <= 12 else f"{stamp!r}"
        return (
            f"webhook-timestamp is {age}: more than 300 s off is refused, or a request could be replayed.",
            "For a request out of a log say --any-age; else set this machine's clock, or the sender's.",
        )
    for other, what in _mended(body):
        if _is_genuine(check(other)):
            return f"the body is not as it was sent: {what}.", "Check the bytes as they came, before any parser."
    return (
        "a signature does not fit body and secret.",
        "Is it the secret of this subscription, and the body unchanged (same spaces, same escapes)?",
    )


def _mended(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield bodies that this one may have been, each with what happened to it."""
    import msgspec

    yield body.rstrip(b"\r\n"), "a line end was added (echo and editors do that)"
    try:
        yield msgspec.json.format(body, indent=-1), "white space was added (it was formatted again)"
    except msgspec.DecodeError:
        return


def _headers(lines: Iterable[str]) -> Mapping[str, str]:
    """Read header lines by lower-case name; what has no colon, such as a request line, is passed over."""
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon and " " not in name.strip()}


def _lines(path: Path | None) -> list[str]:
    from hookline.cli.failure import EXIT_USAGE, Failure

    try:
        return [] if path is None else path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise Failure(f"--headers: {error}.", "It takes a file of lines like webhook-id: evt_1.", EXIT_USAGE) from error


def _content(name: str) -> bytes:
    import sys

    from hookline.cli.failure import EXIT_USAGE, Failure

    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Failure(f"{error}.", "Name the file that holds the body, or - for standard input.", EXIT_USAGE) from error


def _marked(check: str) -> str:
    colour = {"valid": "green", "missing": "yellow"}.get(check, "red")
    return f"[{colour}]{'✓' if check == 'valid' else '·' if check == 'missing' else '✗'} {check}[/]"
