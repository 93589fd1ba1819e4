"""What objects name exists: in the overlay, out of infra/secrets.sh, or as a prerequisite that the README tells of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from conftest import Overlay

INFRA = Path(__file__).resolve().parents[2] / "infra"
MADE_BY_KFP = {("kubeflow", "ConfigMap", "kfp-launcher"), ("kubeflow", "Secret", "mlpipeline-minio-artifact")}


def config_keys(overlay: Overlay) -> dict[tuple[str, str], set[str]]:
    return {(m["metadata"]["namespace"], m["metadata"]["name"]): set(m["data"]) for m in overlay.all("ConfigMap")}


def references(container: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and, where one is named, key of what a container's environment comes from."""
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            yield "Secret", source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]
        if "configMapKeyRef" in source:
            yield "ConfigMap", source["configMapKeyRef"]["name"], source["configMapKeyRef"]["key"]
    for source in container.get("envFrom", []):
        for kind, field in (("Secret", "secretRef"), ("ConfigMap", "configMapRef")):
            if field in source:
                yield kind, source[field]["name"], None


def selected(overlay: Overlay, manifest: dict[str, Any]) -> list[str]:
    """Owners of the pods that an object's selector finds in its namespace."""
    selector = manifest["spec"]["selector"]
    wanted = selector.get("matchLabels", selector).items()
    namespace = manifest["metadata"]["namespace"]
    return [pod.owner for pod in overlay.pods() if pod.namespace == namespace and wanted <= pod.labels.items()]


def test_pods_find_their_secrets_and_config_maps(
    overlay: Overlay, secrets: dict[tuple[str, str], dict[str, str]]
) -> None:
    there: dict[str, Any] = {"Secret": secrets, "ConfigMap": config_keys(overlay)}
    for pod in overlay.pods():
        for container in pod.containers:
            for kind, name, key in references(container):
                keys = there[kind][pod.namespace, name]
                assert key is None or key in keys, f"{pod.owner}: {kind} {name} has no {key}"


def test_pods_start_without_a_key_of_s3_where_the_cloud_gives_them_an_identity(overlay: Overlay) -> None:
    named = [s["secretRef"] for pod in overlay.pods() for c in pod.containers for s in c.get("envFrom", [])
             if "secretRef" in s]  # fmt: skip
    keys = [one for one in named if one["name"] == "advantageflow-s3"]
    assert keys
    assert all(one["optional"] for one in keys)


def test_variables_in_command_lines_have_a_value(
    overlay: Overlay, secrets: dict[tuple[str, str], dict[str, str]]
) -> None:
    there: dict[str, Any] = {"Secret": secrets, "ConfigMap": config_keys(overlay)}
    for pod in overlay.pods():
        for container in pod.containers:
            sources = [there[kind][pod.namespace, name] for kind, name, key in references(container) if key is None]
            known = {entry["name"] for entry in container.get("env", [])}.union(*sources)
            words = " ".join([*container.get("command", []), *container.get("args", [])])
            assert set(re.findall(r"\$\((\w+)\)", words)) <= known


def test_services_and_budgets_select_one_workload_each(overlay: Overlay) -> None:
    expected = {"advantageflow-mlflow": "Deployment/", "advantageflow-postgres": "StatefulSet/"}
    for kind in ("Service", "PodDisruptionBudget"):
        found = {one["metadata"]["name"]: selected(overlay, one) for one in overlay.all(kind)}
        assert found == {name: [owner + name] for name, owner in expected.items()}
    for workload in overlay.all("Deployment") + overlay.all("StatefulSet"):
        assert selected(overlay, workload) == [f"{workload['kind']}/{workload['metadata']['name']}"]
    ports = {port["name"] for pod in overlay.pods() for c in pod.containers for port in c.get("ports", [])}
    assert {port["targetPort"] for one in overlay.all("Service") for port in one["spec"]["ports"]} == ports


def test_one_overlay_changes_into_another_in_place(overlays: dict[str, Overlay]) -> None:
    fixed = {  # what Kubernetes refuses to change
        "StatefulSet": ("serviceName", "selector", "volumeClaimTemplates", "podManagementPolicy"),
        "Deployment": ("selector",),
    }
    for kind, fields in fixed.items():
        found = [{one["metadata"]["name"]: [one["spec"].get(field) for field in fields] for one in overlay.all(kind)}
                 for overlay in overlays.values()]  # fmt: skip
        assert found[0]
        assert all(one == found[0] for one in found)


def test_accounts_roles_and_classes_exist(overlay: Overlay) -> None:
    for pod in overlay.pods():
        assert overlay.one("ServiceAccount", pod.spec["serviceAccountName"], pod.namespace)
        if "priorityClassName" in pod.spec:
            assert overlay.one("PriorityClass", pod.spec["priorityClassName"])
    for binding in overlay.all("RoleBinding"):
        role = binding["roleRef"]
        assert overlay.one(role["kind"], role["name"], binding["metadata"]["namespace"])
        for subject in binding["subjects"]:
            assert overlay.one(subject["kind"], subject["name"], subject["namespace"])


def test_what_kfp_makes_is_a_prerequisite_that_the_readme_tells_of(overlay: Overlay) -> None:
    kinds = {"configmaps": "ConfigMap", "secrets": "Secret"}
    named = {
        (role["metadata"]["namespace"], kinds[resource], name)
        for role in overlay.all("Role")
        for rule in role["rules"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [])
    }
    assert named == MADE_BY_KFP
    readme = (INFRA / "README.md").read_text()
    assert all(f"`{name}`" in readme for _, _, name in MADE_BY_KFP)


def test_pipelines_reach_mlflow_by_a_name_that_it_answers_to(overlay: Overlay) -> None:
    service = overlay.one("Service", "advantageflow-mlflow", "advantageflow")
    [server] = overlay.one("Deployment", "advantageflow-mlflow")["spec"]["template"]["spec"]["containers"]
    [hosts] = [word.partition("=")[2].split(",") for word in server["args"] if word.startswith("--allowed-hosts=")]
    uri = overlay.one("ConfigMap", "advantageflow", "kubeflow")["data"]["MLFLOW_TRACKING_URI"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    [port] = [port["port"] for port in service["spec"]["ports"]]
    assert uri == f"http://{name}.{namespace}:{port}"
    ends = ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")
    assert set(hosts) == {f"{name}{end}:{port}" for end in ends} | {"localhost:*", "127.0.0.1:*"}


def test_nothing_comes_from_elsewhere_when_manifests_are_built() -> None:
    for file in INFRA.rglob("kustomization.yaml"):
        built = yaml.safe_load(file.read_text())
        listed = [*built.get("resources", []), *built.get("components", [])]
        assert all((file.parent / name).exists() for name in listed), file
        assert not {"helmCharts", "generators", "transformers"} & built.keys(), file
