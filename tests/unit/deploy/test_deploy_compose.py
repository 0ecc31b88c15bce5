"""The compose files: valid by the official schema, and true to the rules of this deployment."""

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import TypeAdapter
from pydantic_settings import BaseSettings

from core.settings import ALL_SETTINGS, APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings

DEPLOY = Path(__file__).parents[3] / "deploy"
FILES = ("compose.yaml", "compose.gpu.yaml")
OURS = {"migrate", "api", "encode", "decode", "maintenance"}
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?P<kind>:-|:\?|-)?(?P<value>[^}]*)\}")


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


def fill_in(value: Any, **given: str) -> Any:
    """What compose makes of `${NAME:-default}`, `${NAME-default}` and `${NAME:?message}` with these variables."""
    if isinstance(value, dict):
        return {key: fill_in(one, **given) for key, one in value.items()}
    if isinstance(value, list):
        return [fill_in(one, **given) for one in value]
    if not isinstance(value, str):
        return value

    def filled(found: re.Match[str]) -> str:
        if given.get(found["name"]) or (found["name"] in given and found["kind"] == "-"):
            return given[found["name"]]
        return found["value"] if found["kind"] in (":-", "-") else "SECRET"

    return _VARIABLE.sub(filled, value)


def merge(base: Any, over: Any) -> Any:
    """How compose lays one file over another, as far as these two files use it."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {key: merge(base[key], value) if key in base else value for key, value in over.items()}
    return over


def seconds(duration: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+)([smh])", duration))


def names_of(kind: type[BaseSettings]) -> set[str]:
    return {f"{kind.model_config.get('env_prefix', '')}{name}".upper() for name in kind.model_fields}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return fill_in(load("compose.yaml")["services"])


@pytest.fixture(scope="module")
def schema() -> Any:
    """The schema of the Compose Specification, as check-jsonschema brings it."""
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return json.loads(vendored.read_text())


@pytest.mark.parametrize("name", FILES)
def test_file_is_valid_by_the_schema_of_the_compose_specification(name: str, schema: Any) -> None:
    jsonschema.Draft202012Validator(schema).validate(load(name))


def test_overlay_makes_a_valid_whole(schema: Any) -> None:
    whole = merge(load("compose.yaml"), load("compose.gpu.yaml"))
    jsonschema.Draft202012Validator(schema).validate(whole)
    decode = fill_in(whole["services"]["decode"])
    assert decode["command"] == ["python", "-m", "workers", "decode"]
    assert decode["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}
    ]
    assert decode["environment"]["MISC_BROKER_URL"] == "redis://:SECRET@redis:6379/0"


def test_schema_is_a_test_that_can_fail(schema: Any) -> None:
    wrong = load("compose.yaml")
    wrong["services"]["api"]["restrat"] = "always"
    with pytest.raises(jsonschema.ValidationError, match="restrat"):
        jsonschema.Draft202012Validator(schema).validate(wrong)


def test_everything_that_is_needed_runs(services: dict[str, Any]) -> None:
    assert set(services) == OURS | {"postgres", "redis", "seaweedfs"}
    commands = {name: " ".join(services[name]["command"]) for name in OURS}
    assert commands == {
        "migrate": "python -m migrations --wait 60",
        "api": "python -m api",
        "encode": "python -m workers encode",
        "decode": "python -m workers decode",
        "maintenance": "python -m workers maintenance",
    }


def test_only_the_api_has_a_port_and_only_on_loopback_by_default(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}


def test_stores_are_on_a_network_that_reaches_nothing(services: dict[str, Any]) -> None:
    assert load("compose.yaml")["networks"]["stores"] == {"internal": True}
    for name in ("postgres", "redis", "seaweedfs", "decode", "maintenance", "migrate"):
        assert services[name]["networks"] == ["stores"]


@pytest.mark.parametrize("name", sorted(OURS | {"postgres", "redis", "seaweedfs"}))
def test_service_is_bounded_and_comes_back(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[mg]", limits["memory"])
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", ["postgres", "redis", "seaweedfs"])
def test_image_of_others_has_a_version(services: dict[str, Any], name: str) -> None:
    tag = services[name]["image"].rpartition(":")[2]
    assert re.match(r"\d", tag), tag


@pytest.mark.parametrize("name", ["postgres", "redis", "seaweedfs"])
def test_store_has_a_health_check_time_to_stop_and_a_volume_that_is_declared(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(service["stop_grace_period"]) >= 30
    [volume] = service["volumes"]
    assert volume.partition(":")[0] in load("compose.yaml")["volumes"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_have_no_rights_to_lose(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "user" not in service


def test_services_wait_for_what_they_need_in_a_way_that_can_come_true(services: dict[str, Any]) -> None:
    for name in OURS - {"migrate"}:
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "postgres": {"condition": "service_healthy"},
            "redis": {"condition": "service_healthy"},
            "seaweedfs": {"condition": "service_healthy"},
        }
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["healthcheck"] == {"disable": True}


@pytest.mark.parametrize("name", ["encode", "decode", "maintenance"])
@pytest.mark.parametrize("files", [FILES[:1], FILES])
def test_worker_is_given_more_time_than_it_takes_to_hand_its_jobs_over(files: tuple[str, ...], name: str) -> None:
    whole = load(files[0])
    for file in files[1:]:
        whole = merge(whole, load(file))
    service = fill_in(whole["services"][name])
    variable = "MISC_WORKER_SOFT_SHUTDOWN"
    patience = WorkerSettings(soft_shutdown=service["environment"][variable]).soft_shutdown.total_seconds()
    assert 10 <= patience <= seconds(service["stop_grace_period"]) - 15


def test_weights_are_a_volume_or_a_folder_that_workers_only_read() -> None:
    for given, source in (({}, "weights"), ({"WEIGHTS": "/srv/weights"}, "/srv/weights")):
        services = fill_in(load("compose.yaml")["services"], **given)
        for name in ("encode", "decode"):
            assert services[name]["volumes"] == [f"{source}:/weights:ro"]
            assert services[name]["environment"]["MISC_WEIGHTS_PATH"] == "/weights"
    assert "weights" in load("compose.yaml")["volumes"]


def test_redis_keeps_its_messages_and_drops_none(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--requirepass"] == "SECRET"
    memory = int(options["--maxmemory"].removesuffix("mb"))
    assert 2 * memory <= 1024, "rewriting the append-only file may double the memory"


def test_bucket_and_keys_of_the_store_are_those_that_the_processes_use() -> None:
    given = {"MISC_STORAGE_BUCKET": "pictures", "MISC_STORAGE_ACCESS_KEY": "somebody"}
    services = fill_in(load("compose.yaml")["services"], **given)
    store, api = services["seaweedfs"], services["api"]["environment"]
    assert "-bucket=pictures" in store["command"]
    assert api["MISC_STORAGE_BUCKET"] == "pictures"
    assert store["environment"]["AWS_ACCESS_KEY_ID"] == api["MISC_STORAGE_ACCESS_KEY"] == "somebody"
    assert api["MISC_STORAGE_ENDPOINT_URL"] == "http://seaweedfs:8333"
    aws = fill_in(load("compose.yaml")["services"], MISC_STORAGE_ENDPOINT_URL="")["api"]["environment"]
    assert aws["MISC_STORAGE_ENDPOINT_URL"] == "", "empty is AWS"


@pytest.mark.parametrize("name", sorted(OURS))
def test_environment_is_taken_by_the_settings(
    services: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = services[name]["environment"]
    known = set().union(*(names_of(kind) for kind in ALL_SETTINGS))
    assert {variable for variable in environment if variable.startswith("MISC_")} <= known
    for variable, value in environment.items():
        monkeypatch.setenv(variable, TypeAdapter(str).validate_python(value))
    assert DatabaseSettings().url == "postgresql+psycopg://misc:SECRET@postgres:5432/misc"
    assert BrokerSettings().url == "redis://:SECRET@redis:6379/0"
    assert StorageSettings().backend == "s3"
    if name == "api":
        assert APISettings().host == "0.0.0.0"
        assert [key.get_secret_value() for key in APISettings().keys] == ["SECRET"]


def test_nothing_secret_is_written_in_the_files() -> None:
    required = set()
    for name in FILES:
        text = (DEPLOY / name).read_text()
        for line in text.splitlines():
            if re.search(r"(PASSWORD|SECRET|KEYS|AUTH)\w*:", line):
                assert "${" in line, line
        required |= {found["name"] for found in _VARIABLE.finditer(text) if found["kind"] == ":?"}
    assert required == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "MISC_STORAGE_SECRET_KEY", "MISC_API_KEYS"}
