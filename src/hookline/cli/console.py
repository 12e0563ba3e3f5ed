"""What commands print: tables and sentences for people, JSON for programs, notes on the error stream."""

import sys
from collections.abc import Iterable, Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_LEAST = 400
"""More than any row needs: cut to a narrow terminal, 503 would read 50. The terminal wraps what is too long for it."""
WIDTH_OF_A_PICTURE = 122
"""What the delivery log of the demo needs."""


def console(*, record: bool = False) -> Console:
    """Open standard output for people; colours follow the terminal."""
    if record:
        return Console(highlight=False, record=True, width=WIDTH_OF_A_PICTURE)
    return Console(highlight=False, width=WIDTH_LEAST)


def write_json(value: object) -> None:
    """Print one value as indented JSON."""
    _write(msgspec.json.format(msgspec.json.encode(value), indent=2))


def write_json_line(value: object) -> None:
    """Print one value as one line of JSON, at once."""
    _write(msgspec.json.encode(value))


def note(text: str) -> None:
    """Tell a person something that is no part of the result."""
    sys.stderr.write(text + "\n")


def moment(instant: str) -> str:
    """Show an instant of the API to a person."""
    return instant.replace("T", " ").rstrip("Z")


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """Lay out rows under headings, without lines; the last column may wrap."""
    result = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in columns:
        result.add_column(heading, no_wrap=heading is not columns[-1], overflow="fold")
    for row in rows:
        result.add_row(*row)
    return result


def _write(line: bytes) -> None:
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()
