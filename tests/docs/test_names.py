"""Whatever a page names of ours exists: commands and their options, variables, calls, targets of make."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main

from hookline.api.operations import OPERATIONS
from hookline.cli.main import app
from hookline.config import OF_COMMANDS, SETTINGS

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE: Final = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
COMMAND: Final = re.compile(r"(?<!-t)(?:^|[\s/=])hookline ((?:[^\n#|&;]|\\\n)+)", re.MULTILINE)
VARIABLE: Final = re.compile(r"\bHOOKLINE_[A-Z0-9_]+\b")
CALL: Final = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/v[12]/[\w/{}.-]*|/oauth2/[\w/]*)")
TARGET: Final = re.compile(r"\bmake ([a-z]+)\b")


def code(text: str) -> str:
    """Return what stands in fences and code spans, a line each; lines that go on are joined."""
    return "\n".join(fence or span for fence, span in CODE.findall(text)).replace("\\\n", " ")


def unknown_commands(text: str) -> Iterator[str]:
    for words in COMMAND.findall(code(text)):
        found: Any = typer.main.get_command(app)
        rest = words.split()
        while rest and rest[0] in getattr(found, "commands", {}):
            found = found.commands[rest.pop(0)]
        options = {option for each in found.params for option in each.opts} | {"--help"}
        if hasattr(found, "commands") and not (rest and (rest[0].isupper() or rest[0].startswith("--"))):
            yield words
        yield from (word for word in rest if word.startswith("--") and word.partition("=")[0] not in options)


def unknown_variables(text: str) -> Iterator[str]:
    known = {setting.name for setting in SETTINGS} | set(OF_COMMANDS)
    yield from (name for name in VARIABLE.findall(text) if name not in known)


def unknown_calls(text: str) -> Iterator[str]:
    known = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in OPERATIONS}
    for method, path in CALL.findall(code(text)):
        shape = re.sub(r"\{\w+\}", "{}", path.rstrip("."))
        if (method, shape) not in known and not any(_fits(shape, other) for verb, other in known if verb == method):
            yield f"{method} {path}"


def _fits(path: str, shape: str) -> bool:
    """Tell whether a path that names an example is one of this shape: /v1/event-types/order.paid."""
    return re.fullmatch(re.escape(shape).replace(r"\{\}", r"[\w.{}-]+"), path) is not None


def unknown_targets(text: str) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    yield from (target for target in TARGET.findall(code(text)) if target not in known)


LOOKS: Final = (unknown_commands, unknown_variables, unknown_calls, unknown_targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_what_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert [name for look in LOOKS for name in look(text)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "`hookline vanish`",
        "`hookline token destroy`",
        "```sh\nhookline replay 1 --status failed \\\n  --sideways\n```",
        "`HOOKLINE_NOTHING`",
        "`GET /v1/hooks`",
        "`DELETE /v1/events/{id}`",
        "`make coffee`",
    ],
)
def test_a_planted_name_is_found(planted: str) -> None:
    assert [name for look in LOOKS for name in look(planted)] != []
