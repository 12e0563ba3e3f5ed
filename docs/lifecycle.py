"""Write docs/lifecycle.md from the table in hookline.lifecycle, or with --check tell whether it is fresh."""

import sys
from pathlib import Path

from hookline.lifecycle import FINAL, LOSS_WAITS_MS, MOVES, STORED, SUSPECT_LOSSES, Move, Reason

PAGE = Path(__file__).with_suffix(".md")

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


def page() -> str:
    """Render the page."""
    waits = ", ".join("none" if wait == 0 else f"{wait // 60_000} min" for wait in LOSS_WAITS_MS)
    moves = "\n".join(f"    {before} --> {after}: {move}" for (before, move), after in MOVES.items())
    ends = "\n".join(f"    {state} --> [*]" for state in STORED if state in FINAL)
    rows = "\n".join(f"| {before} | {move} | {after} | {MEANINGS[move]} |" for (before, move), after in MOVES.items())
    return f"""\
# Life of a delivery

<!-- Made by docs/lifecycle.py from src/hookline/lifecycle.py: change it there, then run `make pages`. -->

A delivery is in one of {len(STORED)} stored states, and moves only as shown. Any other move raises and changes nothing.

```mermaid
stateDiagram-v2
    [*] --> {STORED[0]}
{moves}
{ends}
```

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
    """Write the page, or check it."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} no longer says what lifecycle.py does: run `make pages`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
