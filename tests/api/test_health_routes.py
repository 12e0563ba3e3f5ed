"""Health, metrics, and what is said when something of ours fails."""

import logging
from pathlib import Path

import pytest

from api.loopback import Server
from api.world import World
from hookline.errors import Unavailable


def test_the_process_lives_whatever_the_database_does(server: Server) -> None:
    server.faults.failing = Unavailable("away")
    assert server.call("GET", "/healthz", token=None).status == 200


def test_ready_is_asked_of_the_database_once_a_second(server: Server) -> None:
    server.clock.advance(2)
    assert server.call("GET", "/readyz", token=None).json == {"status": "ready"}
    server.faults.failing = Unavailable("away")
    assert server.call("GET", "/readyz", token=None).status == 200
    server.clock.advance(1)
    answer = server.call("GET", "/readyz", token=None)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    server.faults.failing = None
    server.clock.advance(1)
    assert server.call("GET", "/readyz", token=None).status == 200


def test_a_node_that_ends_is_not_ready_at_once(server: Server) -> None:
    server.clock.advance(2)
    assert server.call("GET", "/readyz", token=None).status == 200
    server.is_draining = True
    answer = server.call("GET", "/readyz", token=None)
    assert (answer.status, answer.json["instance"]) == (503, "/readyz")
    assert server.call("GET", "/v1/me").status == 200


def test_a_node_that_ends_asks_its_clients_to_leave(server: Server) -> None:
    assert "connection" not in server.call("GET", "/v1/me").headers
    server.is_draining = True
    for path in ("/v1/me", "/healthz", "/readyz", "/v1/nowhere"):
        assert server.call("GET", path).headers["connection"] == "close"


def test_metrics_count_requests_by_route(server: Server, world: World) -> None:
    server.call("GET", f"/v1/companies/{world.company}")
    answer = server.call("GET", "/metrics", token=None)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"/v1/companies/{id}" in answer.body
    assert str(world.company).encode() not in answer.body


def test_metrics_need_an_operator_where_others_can_connect(tmp_path: Path) -> None:
    server = Server(tmp_path, {"HOOKLINE_HOST": "0.0.0.0"})
    try:
        publisher = server.call("POST", "/v1/tokens", {"name": "a", "role": "publisher"}).json["token"]
        assert server.call("GET", "/metrics", token=None).status == 401
        assert server.call("GET", "/metrics", token=publisher).status == 403
        assert server.call("GET", "/metrics").status == 200
    finally:
        server.close()


def test_a_node_without_the_api_answers_for_its_health_alone(tmp_path: Path) -> None:
    server = Server(tmp_path, {"HOOKLINE_ROLES": "engine"})
    try:
        assert [server.call("GET", path).status for path in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
        assert [server.call("GET", path).status for path in ("/v1/me", "/openapi.json")] == [404, 404]
    finally:
        server.close()


def test_what_the_database_did_not_confirm_is_503(server: Server) -> None:
    server.faults.failing = Unavailable("The database did not confirm.", retry_after_seconds=3)
    answer = server.call("POST", "/v1/companies", {"name": "a"})
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    assert answer.json["type"] == "/problems/unavailable"


def test_a_fault_of_ours_is_logged_and_says_nothing(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.faults.failing = ZeroDivisionError("SELECT secret FROM tokens")
    with caplog.at_level(logging.ERROR, "hookline.api"):
        answer = server.call("POST", "/v1/companies", {"name": "a"})
    assert (answer.status, answer.json["title"]) == (500, "An error of ours")
    assert b"SELECT" not in answer.body
    assert b"Zero" not in answer.body
    logged = [record for record in caplog.records if answer.headers["x-request-id"] in record.getMessage()]
    assert logged[0].exc_info is not None


def test_a_problem_has_every_promised_member(server: Server) -> None:
    answer = server.call("GET", "/v1/companies/abc?x=1")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "message", "validationErrors"}
    assert (problem["status"], problem["instance"], problem["validationErrors"]) == (404, "/v1/companies/abc", [])
