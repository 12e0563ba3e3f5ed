"""Options that several commands share, so that each is spelled and explained once."""

from typing import Annotated

import typer

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="HOOKLINE_URL", help="The server's address. Found by itself beside a local server."),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="HOOKLINE_TOKEN", help="A bearer token. Found by itself beside a local server."),
]
Database = Annotated[
    str | None,
    typer.Option("--database", help="Work on this database itself: sqlite:///FILE or postgresql://…", metavar="URL"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
