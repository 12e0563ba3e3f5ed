"""The audit: who changed what and when, for the operator alone."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hookline.api.answers import instant, items_response
from hookline.api.context import Api
from hookline.api.reading import ID_MAX, list_limit, query_int
from hookline.storage.views import AuditEntry


async def list_all(request: Request, api: Api) -> Response:
    """Answer changes, newest first."""
    limit = list_limit(request)
    entries = await api.storage.audit(query_int(request, "cursor", None, 1, ID_MAX), limit + 1)
    cursor = entries[limit - 1].id if len(entries) > limit else None
    return items_response([_shown(entry) for entry in entries[:limit]], cursor)


def _shown(entry: AuditEntry) -> dict[str, Any]:
    return {
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "companyId": entry.company_id,
        "time": instant(entry.at),
    }
