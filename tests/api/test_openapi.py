"""The description says what exists, no more and no less."""

from typing import Any

import jsonschema_rs

from api.loopback import Server
from hookline import errors
from hookline.api import problem
from hookline.api.app import ROUTES
from hookline.api.openapi import document
from hookline.api.operations import OPERATIONS


def test_every_route_is_described_and_nothing_else() -> None:
    assert {(route.method, route.path) for route in ROUTES} == set(OPERATIONS)


def test_the_described_roles_are_the_ones_that_may() -> None:
    for route in ROUTES:
        described = OPERATIONS[route.method, route.path].roles
        assert route.roles == (None if described is None else frozenset(described)), route.path


def test_it_is_served_as_it_is_built(server: Server) -> None:
    answer = server.call("GET", "/openapi.json", token=None)
    assert (answer.status, answer.json) == (200, document())


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation.name for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))


def test_every_schema_is_json_schema_and_is_used() -> None:
    said = document()
    used = set(_references(said))
    assert used == {
        f"#/components/{sort}/{name}" for sort in ("schemas", "responses") for name in said["components"][sort]
    } - {"#/components/responses/405"}
    for schema in said["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_error_has_a_kind_and_every_kind_a_slug_of_its_own() -> None:
    outward = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HooklineError)
    } - {errors.HooklineError, errors.StartRefused}
    assert outward | {problem.MethodNotAllowed} == set(problem.KIND_OF)
    assert (
        len({kind.slug for kind in problem.KINDS}) == len({kind.status for kind in problem.KINDS}) == len(problem.KINDS)
    )


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in _references(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in _references(inner)]
    return []
