"""`hookline company`: make and list companies, and let their people in."""

from enum import StrEnum
from typing import Annotated

import typer

from hookline.cli import options

app = typer.Typer(
    help="Make and list companies, and let their people in.",
    epilog=options.example('hookline company create "Acme Support"'),
    no_args_is_help=True,
    rich_markup_mode=None,
)


class PortalRole(StrEnum):
    """What whoever opens a portal link may do."""

    VIEWER = "viewer"
    MEMBER = "member"


@app.command("create", epilog=options.example('hookline company create "Acme Support"'))
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Make a company, that is a customer of yours."""
    from hookline.cli.administration import administration
    from hookline.cli.console import console, write_json

    made = administration(url, token, profile, database, creates=True).create_company(name)
    if json:
        write_json(made)
        return
    screen = console()
    screen.print(f"Company {made['id']} is made.")
    screen.print(f"Next, a token for its people: hookline token create admin --role member --company {made['id']}")


@app.command("list", epilog=options.example("hookline company list --json"))
def list_(
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """List all companies."""
    from hookline.cli.administration import administration
    from hookline.cli.console import console, note, table, write_json

    companies = administration(url, token, profile, database).companies()
    if json:
        write_json(companies)
    elif companies:
        rows = ((str(company["id"]), company["createdAt"], company["name"]) for company in companies)
        console().print(table(("id", "made at", "name"), rows))
    else:
        note("There is no company yet. Make one: hookline company create NAME")


@app.command("portal-link", epilog=options.example("hookline company portal-link 1512370518 --role member"))
def portal_link(
    company: Annotated[int, typer.Argument(metavar="ID", help="From `hookline company list`.")],
    role: Annotated[PortalRole, typer.Option(help="What whoever opens it may do.")] = PortalRole.VIEWER,
    url: options.Url = None,
    token: options.Token = None,
    profile: options.Profile = None,
    json: options.Json = False,
) -> None:
    """Make a link that opens the company's part of the dashboard: once, within 5 minutes, for an hour."""
    from msgspec.json import encode

    from hookline.cli.client import Client
    from hookline.cli.console import console, note, write_json
    from hookline.cli.target import find

    client = Client(find(url, token, profile=profile))
    made = client.call("POST", f"/v1/companies/{company}/portal-links", body=encode({"role": role}))
    if json:
        write_json(made)
        return
    note(f"For one {role}, to be opened before {made['expiresAt']}:")
    console().print(made["url"], soft_wrap=True)
