"""The pods keep to the restricted security standard, and to what a pod that is left alone for months needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Overlay

RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
                      "secret"}  # fmt: skip
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|CREDENTIAL|PGUSER|POSTGRES_USER")


def test_the_tracking_namespace_admits_restricted_pods_only(overlay: Overlay) -> None:
    labels = overlay.one("Namespace", "advantageflow")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_pods_are_restricted(overlay: Overlay) -> None:
    for pod in overlay.pods():
        spec = pod.spec
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), pod.owner
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"].get("runAsUser") != 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(set(volume) - {"name"} <= RESTRICTED_VOLUMES for volume in spec["volumes"])
        for container in pod.containers:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not {"privileged", "runAsUser", "runAsNonRoot", "seccompProfile", "procMount"} & context.keys()
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_only_volumes_are_written_to_and_each_has_a_bound(overlay: Overlay) -> None:
    claims = {"StatefulSet/advantageflow-postgres": {"data"}}
    for pod in overlay.pods():
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        assert all("sizeLimit" in volume["emptyDir"] for volume in volumes.values())
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert "/tmp" in mounts, f"{pod.owner}: programs take a writable /tmp for granted"
            assert set(mounts.values()) <= volumes.keys() | claims.get(pod.owner, set())


def test_pods_get_no_token_of_kubernetes_that_they_do_not_need(overlay: Overlay) -> None:
    for pod in overlay.pods():
        account = overlay.one("ServiceAccount", pod.spec["serviceAccountName"], pod.namespace)
        assert account["automountServiceAccountToken"] is False
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False


def test_every_container_says_what_it_needs_and_what_it_may_take(overlay: Overlay) -> None:
    for pod in overlay.pods():
        for container in pod.containers:
            if pod.owner == "TrainingRuntime/advantageflow-torch":
                assert "resources" not in container  # Kubeflow Trainer would add them to those of each TrainJob
                continue
            for part in ("requests", "limits"):
                assert container["resources"][part].keys() >= {"cpu", "memory"}, f"{pod.owner}: {container['name']}"


def test_every_server_has_probes_that_leave_it_time(overlay: Overlay) -> None:
    servers = [container for pod in overlay.pods() if pod.serves for container in pod.spec["containers"]]
    assert {container["name"] for container in servers} == {"mlflow", "postgres"}
    for container in servers:
        assert container.keys() >= {"startupProbe", "livenessProbe", "readinessProbe"}
        startup = container["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 120
        assert container["livenessProbe"]["timeoutSeconds"] >= 5


def test_images_have_a_version(overlay: Overlay) -> None:
    for pod in overlay.pods():
        for container in pod.containers:
            if pod.owner == "TrainingRuntime/advantageflow-torch":
                continue  # each TrainJob brings its own
            assert re.search(r":[0-9][\w.-]+$|@sha256:[0-9a-f]{64}$", container["image"]), container["image"]


def test_there_is_no_secret_in_the_manifests(overlay: Overlay) -> None:
    assert not overlay.all("Secret")
    for pod in overlay.pods():
        for container in pod.containers:
            literal = {entry["name"]: entry["value"] for entry in container.get("env", []) if "value" in entry}
            assert not [name for name in literal if SECRET_NAME.search(name)]
            texts = [*literal.values(), *container.get("command", []), *container.get("args", [])]
            assert not [text for text in texts if re.search(r"://[^/]*:[^/]*@", text)]
            assert not [text for text in texts if re.search(r"\$\((PG|AWS_S|AWS_A|POSTGRES)", text)]
    values = {key: value for m in overlay.all("ConfigMap") for key, value in m["data"].items()}
    assert not [key for key, value in values.items() if SECRET_NAME.search(key) or "@" in value]
