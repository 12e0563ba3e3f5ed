"""Options that several commands share, so that each is spelled and explained once."""

from typing import Annotated

import typer


def example(command: str) -> str:
    """Render a help page's last line, which is never wrapped: it is there to be copied."""
    return f"\b\nExample: {command}"


Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="HOOKLINE_URL",
        help="The server's address. Found by itself beside a local server.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        envvar="HOOKLINE_TOKEN",
        help="A bearer token. Found by itself beside a local server.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        envvar="HOOKLINE_PROFILE",
        help="Address and token of this name in ~/.config/hookline.toml.",
    ),
]
Database = Annotated[
    str | None,
    typer.Option("--database", help="Work on this database itself: sqlite:///FILE or postgresql://…", metavar="URL"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
