"""Write what docs/api.md includes, and the OpenAPI description that it is made of, for the site of `make docs`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from hookline.api.openapi import document
from hookline.dashboard.reference import Answer, Call, Member, Shape, groups, shapes


def reference() -> str:
    """Render every call under its tag, then every shape."""
    description = document()
    names = {shape.name for shape in shapes(description)}
    parts = ["For programs: [openapi.json](openapi.json), OpenAPI 3.1.\n"]
    for tag, calls in groups(description).items():
        parts += [f"\n## {tag.capitalize()}\n", *(part for call in calls for part in _call(call, names))]
    parts += ["\n## Shapes\n", *(part for shape in shapes(description) for part in _shape(shape, names))]
    return "\n".join(parts)


def _call(call: Call, names: set[str]) -> Iterator[str]:
    yield f'### <span class="method">{call.method}</span> `{call.path}` {{ #{call.id} }}\n'
    yield f"{call.summary}{'' if call.summary.endswith('.') else '.'} {call.text}".strip() + "\n"
    if call.parameters:
        yield from _table("parameter", call.parameters, names)
    if call.body:
        yield f"Body: {_kind(call.body, names)}\n"
    yield "| answer | | body |\n| --- | --- | --- |\n" + "".join(_answer(each, names) for each in call.answers)


def _answer(answer: Answer, names: set[str]) -> str:
    return f"| {answer.status} | {_cell(answer.text)} | {_kind(answer.body or '', names)} |\n"


def _shape(shape: Shape, names: set[str]) -> Iterator[str]:
    yield f"### {shape.name}\n"
    if shape.text:
        yield f"{shape.text}\n"
    yield from _table("member", shape.members, names)


def _table(what: str, members: Sequence[Member], names: set[str]) -> Iterator[str]:
    yield (
        f"| {what} | value | |\n| --- | --- | --- |\n"
        + "".join(
            f"| `{each.name}`{' (required)' if each.is_required else ''} | {_kind(each.kind, names)} |"
            f" {_cell(each.text)} |\n"
            for each in members
        )
    )


def _kind(kind: str, names: set[str]) -> str:
    """Link the shapes that a value's description names."""
    words = [f"[{word}](#{word.lower()})" if word in names else word for word in kind.split(" ")]
    return _cell(" ".join(words))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / "build" / "docs").mkdir(parents=True, exist_ok=True)
    (root / "build" / "docs" / "reference.md").write_text(reference(), encoding="utf-8")
    (root / "docs" / "openapi.json").write_bytes(msgspec.json.format(msgspec.json.encode(document()), indent=2))
