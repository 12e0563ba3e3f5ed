"""What is in deploy/ can be read, names settings that exist, and asks for no more rights than the program needs."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from configparser import RawConfigParser
from importlib.metadata import distribution
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from hookline import __version__
from hookline.config import SETTINGS, Settings, from_environment
from hookline.egress.addresses import Address, classify

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: Final = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text(encoding="utf-8"))
UNIT_FILE: Final = DEPLOY / "systemd/hookline.service"
OBJECTS: Final = list(yaml.safe_load_all((DEPLOY / "kubernetes/hookline.yaml").read_text(encoding="utf-8")))
SECRET: Final = yaml.safe_load((DEPLOY / "kubernetes/secret.example.yaml").read_text(encoding="utf-8"))
KEY: Final = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
TOKEN: Final = "t" * 32


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Read them as the server would; a name that is no setting is an error here, where it is a note there."""
    ours = {name: value for name, value in environment.items() if name.startswith("HOOKLINE_")}
    assert set(ours) <= {setting.name for setting in SETTINGS}
    return from_environment({"HOOKLINE_SECRET_KEY": KEY, **{name: value for name, value in ours.items() if value}})


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


# --- image -----------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", DOCKERFILE)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def last(name: str) -> str:
    return [rest for each, rest in instructions() if each == name][-1]


def test_image_knows_only_instructions_and_begins_from_one_base() -> None:
    known = {"ARG", "FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
    assert {name for name, _ in instructions()} <= known | {"ENTRYPOINT", "CMD"}
    assert [rest for name, rest in instructions() if name == "FROM"] == [
        "python:${PYTHON} AS build",
        "python:${PYTHON}",
    ]
    assert not re.search(r":latest\b|\bADD\b|\bcurl\b|\bapt-get\b|\bsudo\b", DOCKERFILE)


def test_image_runs_without_root_and_writes_no_bytecode() -> None:
    user = last("USER")
    assert user.split(":")[0].isdigit()
    assert user != "0:0"
    environment = dict(word.split("=", 1) for word in shlex.split(last("ENV")))
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    settings = settings_of(environment)
    assert settings.host == "0.0.0.0"
    assert str(settings.port) == last("EXPOSE")
    assert settings.database_url.startswith(f"sqlite:///{last('VOLUME')}/")


def test_image_installs_by_hash_and_carries_neither_pip_nor_source() -> None:
    for line in DOCKERFILE.replace("\\\n", " ").split("&&"):
        if "pip install" in line:
            assert "--require-hashes" in line or "--no-deps dist/" in line
    final_stage = DOCKERFILE.rpartition("FROM ")[2]
    assert "COPY --from=build /opt/hookline /opt/hookline" in final_stage
    assert final_stage.count("COPY ") == 1
    assert "pip uninstall --yes pip" in DOCKERFILE


def test_image_is_made_of_files_that_are_there_and_not_ignored() -> None:
    copied = [
        word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / each).exists() for each in copied)
    assert set(copied) == kept


def test_first_stage_has_all_that_builds_the_wheel() -> None:
    lock = (ROOT / "requirements-build.lock").read_text(encoding="utf-8")
    developers = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([a-z-]+==\S+)", lock, re.MULTILINE)
    needed = {
        re.split(r"[^\w-]", text)[0]
        for text in distribution("hatchling").requires or ()
        if "python_version" not in text
    }
    assert {pin.partition("==")[0] for pin in pins} == {"hatchling", *needed}
    assert all(pin in developers for pin in pins)


# --- compose ---------------------------------------------------------------------------------------------------------


def test_compose_gives_the_server_settings_that_it_can_read() -> None:
    known = {"POSTGRES_PASSWORD": "p", "HOOKLINE_SECRET_KEY": KEY, "HOOKLINE_OPERATOR_TOKEN": TOKEN}

    def filled(match: re.Match[str]) -> str:
        return known.get(match[1]) or match[2].removeprefix("-")

    environment = COMPOSE["services"]["hookline"]["environment"]
    settings = settings_of({name: re.sub(r"\$\{(\w+):([^}]*)\}", filled, text) for name, text in environment.items()})
    assert settings.database_url == "postgresql://hookline:p@postgres:5432/hookline"
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "compose/example.env").read_text().splitlines()
        if "=" in line and line[0] != "#"
    )
    assert set(known) | {"HOOKLINE_PUBLIC_URL"} == set(example)
    assert not any(example[name] for name in known), "an example holds no secret that somebody might keep"


def test_compose_takes_rights_away_and_waits_for_the_database() -> None:
    server, database = COMPOSE["services"]["hookline"], COMPOSE["services"]["postgres"]
    assert server["read_only"] is True
    assert server["tmpfs"] == ["/tmp"]
    assert server["cap_drop"] == ["ALL"]
    assert server["security_opt"] == ["no-new-privileges:true"]
    assert server["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert "ports" not in database
    assert database["networks"] == ["database"]
    assert COMPOSE["networks"]["database"] == {"internal": True}
    assert not database["image"].endswith(":latest")
    assert database["volumes"]


# --- systemd ---------------------------------------------------------------------------------------------------------


class _Unit(RawConfigParser):
    """A file of systemd's: names are told apart by case."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture
def unit() -> RawConfigParser:
    parser = _Unit(strict=True)
    parser.read(UNIT_FILE, encoding="utf-8")
    return parser


def test_unit_starts_the_server_with_settings_that_it_can_read(unit: RawConfigParser) -> None:
    service = unit["Service"]
    environment = dict(word.split("=", 1) for word in shlex.split(service["Environment"]))
    settings = settings_of(environment)
    assert service["ExecStart"].split()[1:] == ["serve"]
    assert settings.database_url == f"sqlite:////var/lib/{service['StateDirectory']}/hookline.db"
    assert service["Restart"] == "always"
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_unit_gives_up_what_the_server_does_not_need(unit: RawConfigParser) -> None:
    service = unit["Service"]
    wanted = {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "UMask": "0077",
        "StateDirectoryMode": "0700",
        "SystemCallFilter": "@system-service",
    }
    assert {name: service[name] for name in wanted} == wanted


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")
def test_systemd_takes_the_unit_as_it_is() -> None:
    ended = subprocess.run(["systemd-analyze", "verify", UNIT_FILE], capture_output=True, text=True, check=False)
    said = [line for line in ended.stderr.splitlines() if "is not executable" not in line]  # it is not installed here
    assert not [line for line in said if "hookline.service" in line]


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def the(kind: str) -> dict[str, Any]:
    (found,) = [each for each in OBJECTS if each["kind"] == kind]
    return dict(found)


POD: Final = the("Deployment")["spec"]["template"]["spec"]
CONTAINER: Final = POD["containers"][0]
VERSIONS: Final = {
    "Namespace": "v1",
    "ServiceAccount": "v1",
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Service": "v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}


def test_each_object_is_of_a_known_kind_named_and_in_the_namespace() -> None:
    assert {each["kind"]: each["apiVersion"] for each in OBJECTS} == VERSIONS
    assert {each["metadata"]["name"] for each in OBJECTS} == {"hookline"}
    assert {each["metadata"].get("namespace") for each in [*OBJECTS, SECRET]} == {"hookline", None}
    assert [each["kind"] for each in OBJECTS if "namespace" not in each["metadata"]] == ["Namespace"]


def test_whatever_selects_pods_selects_these() -> None:
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("Service")["spec"]["selector"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert the("Service")["spec"]["ports"][0]["targetPort"] in {port["name"] for port in CONTAINER["ports"]}


def test_pods_get_settings_that_the_server_can_read_and_no_others() -> None:
    said = {each["name"]: each["value"] for each in CONTAINER["env"]}
    settings = settings_of({**the("ConfigMap")["data"], **SECRET["stringData"], **said})
    assert settings.host == "0.0.0.0"
    assert settings.port == CONTAINER["ports"][0]["containerPort"]
    assert POD["enableServiceLinks"] is False, "the Service would set HOOKLINE_PORT"
    assert {name for name, text in SECRET["stringData"].items() if not text} == {
        "HOOKLINE_SECRET_KEY",
        "HOOKLINE_OPERATOR_TOKEN",
    }
    assert CONTAINER["image"].endswith(f":{__version__}")


def test_pods_fulfil_the_restricted_standard_and_write_to_tmp_alone() -> None:
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == last("USER")
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in CONTAINER["volumeMounts"]] == ["/tmp"]
    assert POD["automountServiceAccountToken"] is False
    assert the("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_probes_ask_what_they_are_for() -> None:
    probes = {name: CONTAINER[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {"http"}
    drain = settings_of({}).drain_seconds
    readiness = probes["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < drain, "else requests come to a node that left"


def test_a_node_may_go_and_another_stays() -> None:
    replicas, budget = the("Deployment")["spec"]["replicas"], the("PodDisruptionBudget")["spec"]
    assert 1 <= budget["minAvailable"] < replicas
    assert the("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert CONTAINER["resources"]["limits"]["memory"]
    assert CONTAINER["resources"]["requests"].keys() == {"cpu", "memory"}


def test_every_supervisor_waits_for_the_drain_and_for_attempts_in_flight(unit: RawConfigParser) -> None:
    settings = settings_of({})
    needed = settings.drain_seconds + settings.settling_seconds
    given = (
        POD["terminationGracePeriodSeconds"],
        seconds(COMPOSE["services"]["hookline"]["stop_grace_period"]),
        int(unit["Service"]["TimeoutStopSec"]),
    )
    assert min(given) > needed


Network = IPv4Network | IPv6Network


def open_blocks() -> Iterator[tuple[Network, list[Network]]]:
    for rule in the("NetworkPolicy")["spec"]["egress"]:
        for each in rule["to"]:
            if "ipBlock" in each:
                block = each["ipBlock"]
                yield ip_network(block["cidr"]), [ip_network(text) for text in block["except"]]


def is_let_out(address: Address) -> bool:
    return any(address in block and not any(address in each for each in excepted) for block, excepted in open_blocks())


@pytest.mark.parametrize(
    "text",
    [
        "10.1.2.3", "172.31.255.255", "192.168.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200",
        "168.63.129.16", "192.0.0.192", "0.0.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1", "::1", "fc00::1",
        "fd00:ec2::254", "fe80::1", "ff02::1", "::ffff:10.0.0.1", "2002:a00:1::", "2001:db8::1", "64:ff9b::a00:1",
    ],
)  # fmt: skip
def test_network_policy_keeps_in_what_hookline_never_calls(text: str) -> None:
    assert classify(ip_address(text)) is not None
    assert not is_let_out(ip_address(text))


@pytest.mark.parametrize("text", ["93.184.215.14", "1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_network_policy_lets_out_what_hookline_calls(text: str) -> None:
    assert classify(ip_address(text)) is None
    assert is_let_out(ip_address(text))


def test_exceptions_lie_within_their_block_as_the_cluster_demands() -> None:
    for block, excepted in open_blocks():
        assert all(each.version == block.version and each.subnet_of(block) for each in excepted)  # type: ignore[arg-type]


def test_network_policy_leads_to_names_and_to_the_database() -> None:
    spec = the("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    ports = {(port["protocol"], port["port"]) for rule in spec["egress"] for port in rule.get("ports", ())}
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 5432)}
