"""Every rendered object is what Kubernetes and Kubeflow Trainer take, to the last field."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
from kubeflow_trainer_api import models

if TYPE_CHECKING:
    from conftest import Overlay

VERSIONS = ("1.31", "1.37")  # the oldest that KFP 2.17 is used on here, and the newest that there is a schema of
LABELS = {f"app.kubernetes.io/{name}" for name in ("name", "component", "part-of", "managed-by")}


def check_runtime(manifest: dict[str, Any]) -> None:
    """Kubeflow's models drop what they do not know: what comes back must be what went in."""
    runtime = models.TrainerV1alpha1TrainingRuntime.from_dict(manifest)
    assert runtime is not None
    assert runtime.to_dict() == manifest


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_its_schema(overlay: Overlay, version: str) -> None:
    for manifest in overlay.objects:
        if manifest["kind"] == "TrainingRuntime":
            check_runtime(manifest)
        else:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version


def test_a_misspelt_field_would_be_found(overlays: dict[str, Overlay]) -> None:
    deployment = copy.deepcopy(overlays["kind"].one("Deployment", "advantageflow-mlflow"))
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)
    runtime = copy.deepcopy(overlays["multi-node"].one("TrainingRuntime", "advantageflow-torch"))
    runtime["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = "auto"  # of an older Trainer
    with pytest.raises(AssertionError, match="numProcPerNode"):
        check_runtime(runtime)


def test_no_object_is_there_twice_and_none_is_without_a_home(overlay: Overlay) -> None:
    places = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in overlay.objects]
    assert len(set(places)) == len(places)
    without = {kind for kind, namespace, _ in places if namespace is None}
    assert without == {"Namespace", "PriorityClass"}
    assert {namespace for _, namespace, _ in places if namespace} == {"advantageflow", "kubeflow"}


def test_every_object_and_pod_says_what_it_is(overlay: Overlay) -> None:
    labelled = [manifest["metadata"]["labels"] for manifest in overlay.objects] + [pod.labels for pod in overlay.pods()]
    for labels in labelled:
        assert labels.keys() >= LABELS
        assert labels["app.kubernetes.io/part-of"] == "advantageflow"
        assert all(re.fullmatch(r"[a-z0-9.-]{1,63}", labels[label]) for label in LABELS)


def test_only_several_nodes_need_kubeflow_trainer(overlays: dict[str, Overlay]) -> None:
    kinds = {name: {m["apiVersion"] for m in overlay.objects} for name, overlay in overlays.items()}
    assert {name for name, found in kinds.items() if "trainer.kubeflow.org/v1alpha1" in found} == {"multi-node"}
