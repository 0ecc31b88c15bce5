"""The Helm chart: rendered by Helm's own library, held against Kubernetes' schemas, and true to this deployment.

What no test here can see: a cluster. KEDA's own kinds have no schema in a package; their fields are looked at by hand.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from core.database import Database
from core.settings import ALL_SETTINGS, DatabaseSettings
from deploy.env_example import settings_of
from migrations.upgrade import upgrade
from models import Job
from models.job import JobKind, JobState

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "misc"
KUBERNETES = ("1.28", "1.34")
"""The oldest release that the chart says it takes, and a recent one."""

try:
    import helm_python as helm
    import kubernetes_validate
except ImportError:
    if os.environ.get("CI"):
        raise
    pytest.skip("Helm's library is not installed", allow_module_level=True)


def rendered(**values: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """All objects by kind and name."""
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render({"existingSecret": "misc-secrets"} | values, name="archive", namespace="prod")
    objects = [
        one for name, content in files.items() if name.endswith(".yaml") for one in yaml.safe_load_all(content) if one
    ]
    named = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(named) == len(objects)
    return named


def containers(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Pod and container of everything that runs, by name."""
    pods = {name: one["spec"]["template"]["spec"] for (kind, name), one in objects.items() if kind in RUNS}
    return {name: (pod, *pod["containers"]) for name, pod in pods.items()}


RUNS = {"Deployment", "Job"}
FULL = {
    "weightsClaim": "weights",
    "image": {"prefix": "registry.example/team/", "tag": "1", "pullSecrets": [{"name": "pull"}]},
    "networkPolicy": {
        "apiFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        "stores": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [5432]}],
    },
    "workers": {"decode": {"nodeSelector": {"gpu": "yes"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}},
}


def test_helm_finds_nothing_wrong_with_it() -> None:
    found = helm.lint(str(CHART), values={"existingSecret": "misc-secrets"})
    assert found["errors"] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [{}, FULL, {"keda": {"enabled": False}}], ids=["defaults", "full", "without keda"])
def test_objects_are_valid_for_kubernetes(values: dict[str, Any], version: str) -> None:
    objects = rendered(**values)
    assert len(objects) > 12
    for (kind, _), one in objects.items():
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, version, strict=True)
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "archive", kind


def test_every_container_is_hardened_and_told_its_secrets_by_reference() -> None:
    for name, (pod, container) in containers(rendered()).items():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["automountServiceAccountToken"] is False and pod["enableServiceLinks"] is False
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"secretRef": {"name": "misc-secrets"}} in container["envFrom"]
        assert container["resources"]["limits"]["memory"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    assert not [kind for kind, _ in rendered() if kind == "Secret"]


def test_settings_are_those_that_processes_know() -> None:
    known = {name for kind in ALL_SETTINGS for name, _, _ in settings_of(kind)}
    objects = rendered()
    assert set(objects["ConfigMap", "archive-misc"]["data"]) <= known
    for _, container in containers(objects).values():
        assert {one["name"] for one in container.get("env", ())} <= known


def test_commands_are_those_of_the_compose_file() -> None:
    compose = yaml.safe_load((CHART.parents[1] / "compose.yaml").read_text())["services"]
    found = {name.removeprefix("archive-misc-"): one["command"] for name, (_, one) in containers(rendered()).items()}
    assert found.pop("migrations") == compose["migrate"]["command"]
    assert found == {name: compose[name]["command"] for name in ("api", "encode", "decode", "maintenance")}


def test_workers_have_longer_to_go_than_their_jobs() -> None:
    objects = rendered(softShutdownSeconds=40)
    for pool in ("encode", "decode", "maintenance"):
        pod, container = containers(objects)[f"archive-misc-{pool}"]
        (soft,) = (one["value"] for one in container["env"] if one["name"] == "MISC_WORKER_SOFT_SHUTDOWN")
        assert soft == "PT40S" and pod["terminationGracePeriodSeconds"] > 40
    with pytest.raises(helm.HelmError, match="has to be longer than softShutdownSeconds"):
        rendered(softShutdownSeconds=45)


def test_each_deployment_has_a_disruption_budget_that_selects_its_pods() -> None:
    objects = rendered()
    for (kind, name), one in objects.items():
        if kind == "Deployment":
            budget = objects["PodDisruptionBudget", name]["spec"]
            assert budget["maxUnavailable"] == 1
            assert budget["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("pool", ["encode", "decode"])
def test_pools_are_scaled_by_the_jobs_that_are_queued_or_running(pool: str, tmp_path: Path) -> None:
    objects = rendered()
    assert "replicas" not in objects["Deployment", f"archive-misc-{pool}"]["spec"]
    scaled = objects["ScaledObject", f"archive-misc-{pool}"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == f"archive-misc-{pool}"
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "postgresql" and int(trigger["metadata"]["targetQueryValue"]) > 0
    reference = objects["TriggerAuthentication", trigger["authenticationRef"]["name"]]["spec"]["secretTargetRef"]
    assert reference == [{"parameter": "connection", "name": "misc-secrets", "key": "KEDA_POSTGRES"}]

    settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'misc.db'}")
    upgrade(settings)
    database = Database(settings)
    try:
        with database.write() as session:
            for state in JobState:
                for kind in (JobKind.ENCODE, JobKind.DECODE):
                    session.add(Job(kind=kind, queue=kind.value, state=state))
            session.add(Job(kind=JobKind(pool), queue=pool))
        with database.read() as session:
            assert session.scalar(text(trigger["metadata"]["query"])) == 3
    finally:
        database.close()


def test_without_keda_pools_have_replicas_and_nothing_of_it_is_left() -> None:
    objects = rendered(keda={"enabled": False}, workers={"decode": {"scale": {"min": 0}}})
    assert not [one for one in objects.values() if one["apiVersion"].startswith("keda.sh/")]
    assert objects["Deployment", "archive-misc-decode"]["spec"]["replicas"] == 1


def test_network_lets_through_what_is_said_and_nothing_else() -> None:
    objects = rendered(**FULL)
    base = objects["NetworkPolicy", "archive-misc"]["spec"]
    assert base["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in base
    ports = [[port["port"] for port in rule["ports"]] for rule in base["egress"]]
    assert ports == [[53, 53], [5432]]
    assert base["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    for _, one in objects.items():
        if one["kind"] in RUNS:
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert base["podSelector"]["matchLabels"].items() <= labels.items()
    (api,) = objects["NetworkPolicy", "archive-misc-api"]["spec"]["ingress"]
    assert api["from"] == FULL["networkPolicy"]["apiFrom"] and api["ports"][0]["port"] == 8000
    (metrics,) = objects["NetworkPolicy", "archive-misc-metrics"]["spec"]["ingress"]
    assert metrics["from"] == FULL["networkPolicy"]["metricsFrom"]
    assert ("NetworkPolicy", "archive-misc-metrics") not in rendered()


@pytest.mark.parametrize(
    "values",
    [
        {"existingSecret": ""},
        {"settings": {"MISC_DATABASE_URL": "postgresql://misc:secret@db/misc"}},
        {"settings": {"PASSWORD": "x"}},
        {"workers": {"paint": {"image": "decode"}}},
        {"api": {"replica": 3}},
        {"image": {"prefix": "registry.example"}},
    ],
)
def test_slips_and_secrets_in_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError):
        rendered(**values)
