"""`hookline publish`: publish one event."""

from typing import Annotated

import typer

from hookline.cli import options

EXAMPLE = options.example("""hookline publish note.created --company 1512370518 --data '{"noteToken":"a1b2c3"}'""")


def publish(
    event_type: Annotated[
        str, typer.Argument(metavar="EVENT_TYPE", help="A name of the catalogue (GET /v1/event-types).")
    ],
    company: Annotated[list[int], typer.Option("--company", metavar="ID", help="Whom it is for; may be repeated.")],
    data: Annotated[
        str, typer.Option(metavar="JSON", help="A JSON object, @FILE to read it from, or - for standard input.")
    ] = "{}",
    event_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="An id of your own; the same id is never accepted twice.")
    ] = None,
    occurred_at: Annotated[str | None, typer.Option(metavar="TIME", help="When it happened. Default: now.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(metavar="KEY", help="Makes it safe to repeat.")] = None,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Publish an event. When this says so, it is on disk and will be delivered."""
    import msgspec

    from hookline.cli.client import Client
    from hookline.cli.console import console, write_json
    from hookline.cli.failure import EXIT_USAGE, Failure
    from hookline.cli.target import find, is_visible

    if idempotency_key is not None and not is_visible(idempotency_key):
        raise Failure("--idempotency-key takes 1 to 255 visible ASCII characters.", "A UUID will do.", EXIT_USAGE)
    members = {"eventType": event_type, "companyIds": company, "id": event_id, "occurredAt": occurred_at}
    fixed = msgspec.json.encode({name: value for name, value in members.items() if value is not None})
    accepted = Client(find(url, token, profile=profile)).call(
        "POST",
        "/v1/events",
        body=fixed[:-1] + b',"data":' + _data(data) + b"}",  # as typed: decoding it would turn 1.10 into 1.1
        headers={"Idempotency-Key": idempotency_key} if idempotency_key is not None else {},
    )
    if json:
        write_json(accepted)
        return
    count = accepted["deliveries"]
    screen = console()
    screen.print(f"Event {accepted['id']} is accepted, with {count} {'delivery' if count == 1 else 'deliveries'}.")
    if count == 0:
        screen.print(f"No subscription of these companies asks for {event_type}. See GET /v1/events/{accepted['id']}.")


def _data(text: str) -> bytes:
    import sys
    from pathlib import Path

    import msgspec

    from hookline.cli.failure import EXIT_USAGE, Failure

    try:
        if text == "-":
            raw = sys.stdin.buffer.read()
        elif text.startswith("@"):
            raw = Path(text[1:]).read_bytes()
        else:
            raw = text.encode()
        msgspec.json.decode(raw, type=dict[str, msgspec.Raw])  # raw: a number may be of any size
    except OSError as error:
        raise Failure(f"--data: {error}.", "@FILE takes the data from a file.", EXIT_USAGE) from error
    except msgspec.ValidationError as error:
        raise Failure(
            "--data is JSON, but no object.", """It should read like {"noteToken":"a1b2c3"}.""", EXIT_USAGE
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Failure(f"--data is not JSON: {error}.", "In a shell, put it into single quotes.", EXIT_USAGE) from error
    return raw
