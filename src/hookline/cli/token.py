"""`hookline token`: make, list and revoke bearer tokens."""

from typing import Annotated

import typer

from hookline.cli import options
from hookline.model import Role

app = typer.Typer(
    help="Make, list and revoke bearer tokens.",
    epilog=options.example("hookline token create billing --role publisher"),
    no_args_is_help=True,
    rich_markup_mode=None,
)

Company = Annotated[
    int | None,
    typer.Option("--company", metavar="ID", help="The company it belongs to; roles member and viewer need one."),
]


@app.command("create", epilog=options.example("hookline token create billing --role publisher"))
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for; shown in lists.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.OPERATOR,
    company: Company = None,
    expires_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends, as in 2027-01-31T00:00:00Z. Default: never.")
    ] = None,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Make a token. It is shown now and never again."""
    from hookline.cli.administration import administration
    from hookline.cli.console import console, note, write_json
    from hookline.cli.failure import EXIT_USAGE, Failure

    if (role in {Role.MEMBER, Role.VIEWER}) != (company is not None):
        raise Failure(
            f"a token with the role {role} {'belongs to one company' if company is None else 'belongs to no company'}.",
            "Say --company ID with --role member or viewer; `hookline company list` shows the ids.",
            EXIT_USAGE,
        )
    ends_at = None if expires_at is None else _instant(expires_at)
    made = administration(url, token, profile, database, creates=True).create_token(name, role, company, ends_at)
    if json:
        write_json(made)
        return
    note(f"Token {made['id']} ({role}) is made. Keep it now, it is not shown again:")
    console().print(made["token"], soft_wrap=True)


@app.command("list", epilog=options.example("hookline token list --company 1512370518"))
def list_(
    company: Company = None,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """List tokens of the installation, or with --company of one company. Never the tokens themselves."""
    from hookline.cli.administration import administration
    from hookline.cli.console import console, note, table, write_json

    tokens = administration(url, token, profile, database).tokens(company)
    if json:
        write_json(tokens)
    elif tokens:
        rows = (
            (str(row["id"]), row["role"], row["createdAt"], row["expiresAt"] or "never", row["name"]) for row in tokens
        )
        console().print(table(("id", "role", "made at", "ends", "name"), rows))
    else:
        note("There is none. Make one: hookline token create NAME")


@app.command("revoke", epilog=options.example("hookline token revoke 1730265714"))
def revoke(
    token_id: Annotated[int, typer.Argument(metavar="ID", help="From `hookline token list`.")],
    company: Company = None,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """End a token, on every node within a second."""
    from hookline.cli.administration import administration
    from hookline.cli.console import note, write_json

    administration(url, token, profile, database).revoke_token(company, token_id)
    if json:
        write_json({"id": token_id, "revoked": True})
    else:
        note(f"Token {token_id} is revoked.")


def _instant(text: str) -> int:
    from datetime import UTC, datetime

    from hookline.cli.failure import EXIT_USAGE, Failure

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Failure(f"--expires-at is {text!r}.", "It should read like 2027-01-31T00:00:00Z.", EXIT_USAGE)
    return int(moment.astimezone(UTC).timestamp() * 1000)
