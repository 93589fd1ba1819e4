"""What a task's driver tells its pod: the patch of its spec, of which Argo keeps a copy in six nodes of the task."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any
from uuid import UUID

from advantageflow_pipelines.client.workflow.parts import Json, to_text

RUN = "68e80dd5-f249-4d0a-9602-1c4fcd5c8d3a"  # as long as any run's id
_STORE = {  # how an input is read, which each says of itself; KFP's own object store
    "Provider": "minio", "Params": {"accessKeyKey": "accesskey", "disableSSL": "true", "endpoint": "seaweedfs:9000",
    "fromEnv": "false", "maxRetries": "5", "region": "minio", "secretKeyKey": "secretkey",
    "secretName": "mlpipeline-minio-artifact"},
}  # fmt: skip
_LOGS = {"executor-logs": {"artifactType": {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}}}


def pod_patch(
    name: str,
    component: Json,
    container: Json,
    kubernetes: Json,
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, int],
    random: Random,
) -> str:
    """The patch as JSON.

    Args:
        name: of the task.
        component: as compiled; `container` and `kubernetes` are its executor's.
        container: what runs.
        kubernetes: the platform's settings.
        parameters: values of the task's inputs.
        artifacts: how many artifacts each input holds: one, or one of each iteration.
        random: makes ids.
    """
    definitions = component.get("inputDefinitions", {}).get("artifacts", {})
    outputs = component.get("outputDefinitions", {})
    told = {
        "inputs": {
            "parameterValues": dict(parameters),
            "artifacts": {key: _inputs(key, definitions.get(key, {}), number, random)
                          for key, number in artifacts.items()},
        },
        "outputs": {
            "artifacts": {key: {"artifacts": [_artifact(name, key, one, random)]}
                          for key, one in (outputs.get("artifacts", {}) | _LOGS).items()},
            "parameters": {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in outputs.get("parameters", {})},
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        },
    }  # fmt: skip
    command = ["/kfp-launcher/launch", "--pipeline_name", "advantageflow-online", "--run_id", RUN, "--execution_id",
               str(random.randrange(100, 1000)), "--executor_input", to_text(told), "--component_spec",
               to_text(component), "--pod_name", "$(KFP_POD_NAME)", "--pod_uid", "$(KFP_POD_UID)",
               "--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local",
               "--mlmd_server_port", "8080", "--publish_logs", "true", "--"]  # fmt: skip
    main = {
        "name": "main",
        "image": container.get("image", ""),
        "command": command,
        "args": [*container.get("command", []), *container.get("args", [])],
        "env": [*container.get("env", []), *_environment(kubernetes)],
        "resources": _resources(container.get("resources", {})),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        "volumeMounts": [{"name": name, "mountPath": folder["mountPath"]} for name, _, folder in _folders(kubernetes)],
    }  # fmt: skip
    volumes = [{"name": name, kind: folder} for name, kind, folder in _folders(kubernetes)]
    pod = {
        key: kubernetes[key] for key in ("activeDeadlineSeconds", "tolerations", "nodeSelector") if key in kubernetes
    }
    return to_text({**pod, "containers": [main], "volumes": volumes})


def _inputs(key: str, definition: Json, count: int, random: Random) -> Json:
    said = {"metadata": {"display_name": key, "store_session_info": to_text(_STORE)}}
    return {"artifacts": [{**_artifact(key, key, definition, random), **said} for _ in range(count)]}


def _artifact(task: str, key: str, definition: Json, random: Random) -> Json:
    address = (
        f"minio://mlpipeline/v2/artifacts/advantageflow-online/{RUN}/{task}/{UUID(int=random.getrandbits(128))}/{key}"
    )
    return {"name": str(random.randrange(100, 1000)), "type": definition.get("artifactType", {}), "uri": address}


def _environment(kubernetes: Json) -> list[Json]:
    fields = [
        {"name": one["name"], "valueFrom": {"fieldRef": {"fieldPath": one["fieldPath"]}}}
        for one in kubernetes.get("fieldPathAsEnv", [])
    ]
    return [
        *_referred(kubernetes.get("secretAsEnv", []), "secretName", "secretKey", "secretKeyRef"),
        *_referred(kubernetes.get("configMapAsEnv", []), "configMapName", "configMapKey", "configMapKeyRef"),
        *fields,
    ]


def _referred(sources: list[Json], name: str, key: str, kind: str) -> list[Json]:
    return [
        {"name": one["envVar"], "valueFrom": {kind: {"name": source[name], "key": one[key], "optional": True}}}
        for source in sources
        for one in source["keyToEnv"]
    ]


def _resources(resources: Json) -> Json:
    return {key: value for key, value in resources.items() if isinstance(value, str)}


def _folders(kubernetes: Json) -> list[tuple[str, str, Json]]:
    """Mounted folders: name, kind and settings."""
    kinds = {"emptyDirMounts": ("volumeName", "emptyDir"), "secretAsVolume": ("secretName", "secret"),
             "configMapAsVolume": ("configMapName", "configMap")}  # fmt: skip
    return [(one[name], kind, one) for key, (name, kind) in kinds.items() for one in kubernetes.get(key, [])]
