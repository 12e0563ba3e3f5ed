"""Write docs/lifecycle.md and its picture from the table in hookline.lifecycle; with --check see whether they fit."""

import sys
from pathlib import Path

from hookline.lifecycle import FINAL, LOSS_WAITS_MS, MOVES, STORED, SUSPECT_LOSSES, Move, Reason
from hookline.model import DeliveryState

PAGE = Path(__file__).with_suffix(".md")
PICTURE = PAGE.parent / "images" / "lifecycle.svg"

PENDING, SENDING, SUCCEEDED, DEAD, CANCELLED = STORED

MEANINGS = {
    Move.CLAIM: "the engine takes it: one attempt more, with a lease",
    Move.RELEASE: "the engine hands it back unsent",
    Move.SUCCEED: "the receiver answered 2xx",
    Move.RETRY: "the attempt failed, and a retry is left",
    Move.GIVE_UP: "the attempt failed, and no retry is left",
    Move.LOSE: "the lease passed without a report; uses no retry",
    Move.PARK: "one attempt too many was lost in a row, or what is stored of it cannot be read",
    Move.CANCEL: "its subscription was deleted, or its data erased",
    Move.EXPIRE: "it was held for longer than events are kept",
    Move.REDELIVER: "somebody asked for it again; a new round of retries",
    Move.PUT_BACK_SUCCEEDED: "its replay was cancelled before its attempt; it had succeeded",
    Move.PUT_BACK_DEAD: "its replay was cancelled before its attempt; it was dead",
}

BOXES = {PENDING: (110, 210), SENDING: (440, 210), SUCCEEDED: (760, 110), DEAD: (760, 310), CANCELLED: (275, 130)}
"""Where the middle of a state's box lies."""
WIDTH, HEIGHT = 130, 48
ARROWS = {
    (PENDING, SENDING): ("M175 202 H371", 275, 196),
    (SENDING, PENDING): ("M375 222 H179", 275, 238),
    (SENDING, SUCCEEDED): ("M505 200 L691 124", 582, 152),
    (SENDING, DEAD): ("M505 222 L691 296", 560, 290),
    (PENDING, CANCELLED): ("M150 186 L208 148", 152, 164),
    (SENDING, CANCELLED): ("M410 186 L344 148", 402, 164),
    (PENDING, SUCCEEDED): ("M90 186 C100 10 500 10 720 82", 330, 30),
    (SUCCEEDED, PENDING): ("M695 98 C460 60 160 60 114 182", 440, 68),
    (PENDING, DEAD): ("M90 234 C100 410 500 410 720 338", 330, 402),
    (DEAD, PENDING): ("M695 322 C460 350 160 350 114 238", 440, 329),
}
"""The way of each arrow, and where the middle of its words lies."""


def picture() -> str:
    """Draw the states and the moves between them; a move without a way in `ARROWS` is an error."""
    names: dict[tuple[DeliveryState, DeliveryState], list[str]] = {}
    for (before, move), after in MOVES.items():
        names.setdefault((before, after), []).append(move)
    arrows = "\n".join(
        f'  <path class="line" d="{way}"/><text class="move" x="{x}" y="{y}">{" · ".join(names[edge])}</text>'
        for edge, (way, x, y) in ((edge, ARROWS[edge]) for edge in names)
    )
    boxes = "\n".join(
        f'  <rect class="{"end" if state in FINAL else "open"}" x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}"'
        f' width="{WIDTH}" height="{HEIGHT}" rx="8"/><text x="{x}" y="{y + 5}">{state}</text>'
        for state, (x, y) in ((state, BOXES[state]) for state in STORED)
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 420" role="img" aria-labelledby="title" font-family="system-ui, sans-serif" font-size="15" text-anchor="middle">
  <title id="title">The states of a delivery and the moves between them, as the table below has them</title>
  <style>
    .open {{ fill: #ddf4ff; stroke: #0969da; }}
    .end {{ fill: #f6f8fa; stroke: #57606a; }}
    .line {{ fill: none; stroke: #57606a; stroke-width: 1.5; marker-end: url(#tip); }}
    text {{ fill: #1f2328; }}
    .move {{ fill: #57606a; font-size: 13px; }}
    @media (prefers-color-scheme: dark) {{
      .open {{ fill: #0c2d4a; stroke: #58a6ff; }}
      .end {{ fill: #161b22; stroke: #8b949e; }}
      .line {{ stroke: #8b949e; }}
      text {{ fill: #e6edf3; }}
      .move {{ fill: #a8b1bb; }}
    }}
  </style>
  <defs>
    <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#768390"/></marker>
  </defs>
{arrows}
{boxes}
</svg>
"""  # noqa: E501 - a line of the picture is a line of the file


def page() -> str:
    """Render the page."""
    waits = ", ".join("none" if wait == 0 else f"{wait // 60_000} min" for wait in LOSS_WAITS_MS)
    rows = "\n".join(f"| {before} | {move} | {after} | {MEANINGS[move]} |" for (before, move), after in MOVES.items())
    return f"""\
# Life of a delivery

<!-- Made by docs/lifecycle.py from src/hookline/lifecycle.py: change it there, then run `make pages`. -->

A delivery is in one of {len(STORED)} stored states, and moves only as shown. Any other move raises and changes nothing.

![The states and the moves between them](images/lifecycle.svg)

| from | move | to | when |
| --- | --- | --- | --- |
{rows}

*Held* is shown while a pending delivery waits for its inactive subscription; it is derived and never stored.

Waits after attempts lost in a row: {waits}; after the next one the delivery is parked.
From {SUSPECT_LOSSES} losses in a row on, a node attempts such deliveries one by one: what brings the process down
each time then falls alone, and those that were in flight beside it are delivered.

A delivery that cannot be read (a damaged row, an event without data) is parked at once, reason `{Reason.UNREADABLE}`,
and never sent: no wait mends it. One whose *subscription* cannot be read, or whose secrets no key of
`HOOKLINE_SECRET_KEY` opens, is whole itself: it stays pending, uses no attempt, and goes out once the key or the row
is back. The log says which, once a minute.
"""


def main() -> int:
    """Write the page and its picture, or check them."""
    made = {PAGE: page(), PICTURE: picture()}
    if "--check" not in sys.argv[1:]:
        for path, text in made.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path.name for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if stale:
        print(f"{', '.join(stale)} no longer says what lifecycle.py does: run `make pages`", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
