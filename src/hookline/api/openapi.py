"""The description of the API as OpenAPI 3.1."""

from starlette.requests import Request
from starlette.responses import Response

from hookline.api.answers import json_response
from hookline.api.context import Api


async def description(_request: Request, _api: Api) -> Response:
    """Answer `GET /openapi.json`."""
    return json_response({})
