"""The receivers of the page on signatures are run, each in its language, and sent what is genuine and what is not."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from e2e.harness import Client, Server, until
from hookline.signing import Signer, new_secret

SAMPLES: Final = Path(__file__).parents[2] / "docs" / "samples"
OLD, NEW, STRANGE = (new_secret(bytes([number] * 32)) for number in (1, 2, 3))
BODY: Final = b'{"eventType":"note.created","hours":1.10,"timestamp":"2026-11-24T08:00:00.000Z"}'


class Language(NamedTuple):
    """How a sample is run; `build` makes the program of `run`, where it is not run as it stands."""

    tool: str
    run: tuple[str, ...]
    build: tuple[str, ...] = ()


LANGUAGES: Final = {
    "Python": Language("python3", ("python3", "verify.py")),
    "JavaScript": Language("node", ("node", "verify.mjs")),
    "Java": Language(
        "javac", ("java", "-XX:TieredStopAtLevel=1", "-cp", "{place}", "Verify"), ("javac", "Verify.java")
    ),
    "Go": Language("go", ("{place}/verify",), ("go", "build", "-o", "verify", "verify.go")),
}


@cache
def built(language: str, place: Path) -> tuple[str, ...]:
    """Lay the sample out in `place`, build it where that is its way, and return what starts it."""
    for sample in SAMPLES.iterdir():
        shutil.copy(sample, place)
    if LANGUAGES[language].build:
        subprocess.run(LANGUAGES[language].build, cwd=place, check=True)
    return tuple(word.format(place=place) for word in LANGUAGES[language].run)


class Sample:
    """A running receiver of one language."""

    def __init__(self, program: tuple[str, ...], place: Path, secrets: str) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        environment = {**os.environ, "WEBHOOK_SECRETS": secrets, "PORT": str(self.port)}
        self._process = subprocess.Popen(program, cwd=place, env=environment, stderr=subprocess.DEVNULL)
        until(self._listens, f"{program} listens", patience_seconds=60)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def answer(self, headers: Mapping[str, str], body: bytes, path: str = "/") -> int:
        """Send a request; return the status of the answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", path, body, dict(headers))
            return connection.getresponse().status

    def _listens(self) -> bool:
        assert self._process.poll() is None, "the sample ended"
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture(scope="module", params=LANGUAGES)
def start(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Sample]]:
    """Give a function that runs the sample of one language with these secrets."""
    language = str(request.param)
    if shutil.which(LANGUAGES[language].tool) is None:
        pytest.skip(f"no {LANGUAGES[language].tool} here, so nothing runs the sample in {language}")
    place = tmp_path_factory.mktemp("sample")
    running: list[Sample] = []

    def run(secrets: str) -> Sample:
        running.append(Sample(built(language, place), place, secrets))
        return running[-1]

    yield run
    for sample in running:
        sample.close()


@pytest.fixture(scope="module")
def sample(start: Callable[[str], Sample]) -> Sample:
    """Run a receiver that knows the old secret and the new one."""
    return start(f"{OLD} {NEW}")


@pytest.fixture(scope="module")
def sample_of_old(start: Callable[[str], Sample]) -> Sample:
    """Run a receiver that has not heard of the new secret yet."""
    return start(OLD)


def signed(*secrets: str, body: bytes = BODY, seconds_off: int = 0) -> dict[str, str]:
    """Return the headers that we send with `body`; the secrets newest first."""
    now = int(time.time()) + seconds_off
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": Signer(secrets).standard_signature("evt_1", now, body),
        "X-Hub-Signature-256": Signer(secrets).hub_signature(body),
    }


def test_what_is_genuine_is_taken_by_either_header(sample: Sample) -> None:
    assert sample.answer(signed(NEW), BODY) == 204
    assert sample.answer(signed(NEW), BODY, "/hub") == 204
    assert sample.answer(signed(NEW, body=b""), b"") == 204
    assert sample.answer(signed(NEW, body="é\ud83d".encode("utf-8", "surrogatepass")), b"\xc3\xa9\xed\xa0\xbd") == 204


def test_either_header_is_enough(sample: Sample) -> None:
    hub = signed(NEW).pop("X-Hub-Signature-256")
    assert sample.answer({"X-Hub-Signature-256": hub}, BODY, "/hub") == 204
    assert sample.answer({"X-Hub-Signature-256": hub}, BODY) == 401
    standard = signed(NEW)
    del standard["X-Hub-Signature-256"]
    assert sample.answer(standard, BODY) == 204
    assert sample.answer(standard, BODY, "/hub") == 401


def test_a_rotation_is_gone_through_without_a_refusal(sample: Sample, sample_of_old: Sample) -> None:
    during = signed(NEW, OLD)
    assert " " in during["webhook-signature"]
    assert [each.answer(during, BODY) for each in (sample_of_old, sample)] == [204, 204]
    assert [sample.answer(signed(secret), BODY, path) for secret in (OLD, NEW) for path in ("/", "/hub")] == [204] * 4
    assert sample_of_old.answer(signed(NEW), BODY) == 401
    assert sample_of_old.answer(signed(NEW), BODY, "/hub") == 401


@pytest.mark.parametrize("away", [-299, 290])
def test_a_clock_may_be_off_by_minutes(sample: Sample, away: int) -> None:
    assert sample.answer(signed(NEW, seconds_off=away), BODY) == 204


@pytest.mark.parametrize("away", [-400, 400, -(10**9), 10**11, 10**18])
def test_what_is_old_or_of_the_future_is_refused(sample: Sample, away: int) -> None:
    assert sample.answer(signed(NEW, seconds_off=away), BODY) == 401


def with_(**values: str) -> dict[str, str]:
    """Return genuine headers, some of them with other values."""
    return signed(NEW) | {name.replace("_", "-"): value for name, value in values.items()}


CHANGES: Final[Mapping[str, Callable[[], dict[str, str]]]] = {
    "a stranger's secret": lambda: signed(STRANGE),
    "another body": lambda: signed(NEW, body=BODY + b"\n"),
    "another version of signature": lambda: with_(
        webhook_signature=signed(NEW)["webhook-signature"].replace("v1,", "v2,"),
        X_Hub_Signature_256=signed(NEW)["X-Hub-Signature-256"].replace("sha256", "sha1"),
    ),
    "half a signature": lambda: {name: value[: len(value) // 2] for name, value in signed(NEW).items()},
    "letters that are not ASCII": lambda: with_(webhook_signature="v1,\xe9", X_Hub_Signature_256="sha256=\xe9"),
    "no signature": lambda: with_(webhook_signature="", X_Hub_Signature_256=""),
    "nothing at all": dict,
}
CHANGES_OF_ID_OR_TIME: Final[Mapping[str, Callable[[], dict[str, str]]]] = {
    "another id": lambda: with_(webhook_id="evt_2"),
    "another time": lambda: with_(webhook_timestamp=signed(NEW, seconds_off=-7)["webhook-timestamp"]),
    "a time that is none": lambda: with_(webhook_timestamp="yesterday"),
    "a time without end": lambda: with_(webhook_timestamp="9" * 5000),
    "no time": lambda: with_(webhook_timestamp=""),
}


@pytest.mark.parametrize("change", [*CHANGES, *CHANGES_OF_ID_OR_TIME])
def test_what_was_changed_is_refused(sample: Sample, change: str) -> None:
    assert sample.answer({**CHANGES, **CHANGES_OF_ID_OR_TIME}[change](), BODY) == 401


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_is_refused_by_hub(sample: Sample, change: str) -> None:
    assert sample.answer(CHANGES[change](), BODY, "/hub") == 401


# --- and from us, as we really send it -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("server")
    with (
        closing(Server(directory, f"sqlite:///{directory}/hookline.db").start()) as server,
        closing(server.client()) as operator,
    ):
        yield operator


@pytest.mark.parametrize("path", ["/", "/hub"])
def test_a_delivery_of_ours_is_taken(operator: Client, start: Callable[[str], Sample], path: str) -> None:
    company = operator.company()
    elsewhere = {"callbackUrl": "http://127.0.0.1:9099/", "retryDelaysSeconds": []}
    made = operator.made("POST", f"/v1/webhooks?companyId={company}", elsewhere)
    sample = start(made["secret"])
    operator.made("PATCH", f"/v1/webhooks/{made['id']}", {"callbackUrl": f"http://127.0.0.1:{sample.port}{path}"})
    operator.publish(company, {"note": "é ☃ 1.10", "hours": 1.5})
    until(lambda: bool(operator.log(made["id"])), "the attempt is logged")
    assert [attempt["httpStatus"] for attempt in operator.log(made["id"])] == [204]
