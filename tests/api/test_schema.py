"""The API against its own description: what Schemathesis makes up, right and wrong, over real HTTP."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks

from api.loopback import Server
from api.world import OPERATOR_TOKEN
from hookline.api.openapi import document


def _without_security(said: dict[str, Any]) -> dict[str, Any]:
    """Leave tokens out: every request here has a good one, so that a missing one cannot be what is tried."""
    for operations in said["paths"].values():
        for operation in operations.values():
            del operation["security"]
    return said


load_all_checks()
SCHEMA = schemathesis.openapi.from_dict(_without_security(document()))
SCHEMA.config.generation.update(modes=list(schemathesis.GenerationMode))
HELD_TO: list[Any] = [  # Schemathesis types its own checks as more than it takes
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
        "allow_header_conformance",
    )
]


def test_the_description_is_openapi() -> None:
    SCHEMA.validate()


@SCHEMA.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_the_api_is_as_it_is_described(server: Server, case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{server.port}",
        headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"},
        checks=HELD_TO,
    )
