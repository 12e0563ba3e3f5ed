"""What subscriptions of a schedule want of an event beyond its type: each filter beside its meaning, written anew."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from hookline.model import Entry, Policies

DATA: Final = (
    b'{"note": 0, "amount": 1.10}',
    b'{"note": 1, "amount": 1.10}',
    b'{"note": "1", "amount": 1.10000000000000000001}',
    b'{"note": 1.0, "amount": 12e-1}',
    b'{"note": true, "amount": null}',
    b'{"amount": 1.10, "colour": {"name": "red"}}',
)
"""What events say: near misses of each other."""


def _number(data: Mapping[str, Any], name: str) -> Decimal | None:
    value = data.get(name)
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


FILTERS: Final[Mapping[str, Callable[[Mapping[str, Any]], bool]]] = {
    '{"note":1}': lambda data: _number(data, "note") == 1,
    '{"note":{"ne":1}}': lambda data: "note" not in data or _number(data, "note") not in {None, 1},
    '{"note":{"in":["1",0]}}': lambda data: data.get("note") == "1" or _number(data, "note") == 0,
    '{"amount":{"lte":1.1}}': lambda data: (_number(data, "amount") or Decimal("Infinity")) <= Decimal("1.1"),
    '{"or":[{"colour.name":{"prefix":"r"}},{"amount":{"gt":1.1}}]}': lambda data: (
        "colour" in data or (_number(data, "amount") or 0) > Decimal("1.1")
    ),
    '{"not":{"note":{"exists":true}}}': lambda data: "note" not in data,
}


def wants(policies: Policies, data: bytes, entries: Sequence[Entry]) -> bool:
    """Tell whether a subscription with these policies gets an event with this data for a recipient so described."""
    directions, partners = policies.case_directions, policies.partner_company_ids
    if (directions is not None or partners is not None) and not any(
        (directions is None or entry.case_direction in directions)
        and (partners is None or entry.partner_company_id in partners)
        for entry in entries
    ):
        return False
    if policies.filter is None:
        return True
    return FILTERS[policies.filter](json.loads(data, parse_float=Decimal))
