"""Who reaches whom by Kubernetes' rules: what no policy selects is open, what one selects needs one that allows."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Overlay

POSTGRES, HTTP, S3, DNS, SEAWEEDFS = 5432, 5000, 443, 53, 8333


@dataclass(frozen=True)
class End:
    """A pod, or an address outside the cluster."""

    namespace: str
    labels: dict[str, str]
    address: str = "10.0.0.1"


OURS = {"app.kubernetes.io/part-of": "advantageflow"}
MLFLOW = End("advantageflow", {"app.kubernetes.io/name": "mlflow", **OURS})
DATABASE = End("advantageflow", {"app.kubernetes.io/name": "postgresql", **OURS})
NODE = End("kubeflow", {"app.kubernetes.io/name": "advantageflow-training", **OURS})
# Not ours: what KFP and Kubernetes run, by the labels that they give.
TASK = End("kubeflow", {"app.kubernetes.io/component": "rollout", "pipeline/runid": "7", **OURS})
DRIVER = End("kubeflow", {"pipeline/runid": "7"})
KFP_API = End("kubeflow", {"app": "ml-pipeline"})
KFP_STORE = End("kubeflow", {"app": "seaweedfs"})
NAMES = End("kube-system", {"k8s-app": "kube-dns"})
STRANGER = End("kubeflow", {"app": "another"})
ELSEWHERE = End("team", {"pipeline/runid": "7", **OURS})
INTERNET = End("", {}, address="203.0.113.7")
CLOUD_METADATA = End("", {}, address="169.254.169.254")
KNOWN = (MLFLOW, DATABASE, NODE, TASK, DRIVER, KFP_API, KFP_STORE, NAMES)


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector selects these labels."""
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert {one["operator"] for one in selector.get("matchExpressions", [])} <= {"Exists"}
    wanted = selector.get("matchLabels", {}).items()
    return wanted <= labels.items() and all(one["key"] in labels for one in selector.get("matchExpressions", []))


def is_peer(peer: dict[str, Any], end: End, home: str) -> bool:
    """Whether a policy of namespace `home` means this end."""
    if "ipBlock" in peer:
        address, block = ipaddress.ip_address(end.address), peer["ipBlock"]
        excepted = any(address in ipaddress.ip_network(one) for one in block.get("except", []))
        return not end.namespace and address in ipaddress.ip_network(block["cidr"]) and not excepted
    namespace = {"kubernetes.io/metadata.name": end.namespace}
    inside = matches(peer["namespaceSelector"], namespace) if "namespaceSelector" in peer else end.namespace == home
    return bool(end.namespace) and inside and matches(peer.get("podSelector", {}), end.labels)


def lets_through(overlay: Overlay, direction: str, here: End, there: End, port: int) -> bool:
    """Whether the policies of one end allow a connection with the other end, to this port of the one that is asked."""
    policies = [
        one
        for one in overlay.all("NetworkPolicy")
        if one["metadata"]["namespace"] == here.namespace
        and direction in one["spec"]["policyTypes"]
        and matches(one["spec"]["podSelector"], here.labels)
    ]
    rules = [rule for one in policies for rule in one["spec"].get(direction.lower(), [])]
    side = "from" if direction == "Ingress" else "to"
    return not policies or any(
        any(is_peer(peer, there, here.namespace) for peer in rule[side])
        and ("ports" not in rule or port in [one["port"] for one in rule["ports"]])
        for rule in rules
    )


def reaches(overlay: Overlay, source: End, target: End, port: int) -> bool:
    """Whether a connection comes about: the source's policies let it out, and the target's let it in."""
    out = lets_through(overlay, "Egress", source, target, port)
    return out and lets_through(overlay, "Ingress", target, source, port)


def test_known_pods_are_those_of_the_manifests(overlay: Overlay) -> None:
    listening = ((MLFLOW, [HTTP]), (DATABASE, [POSTGRES]), (NODE, []))
    for pod in overlay.pods():
        [(known, ports)] = [(end, ports) for end, ports in listening if end.labels.items() <= pod.labels.items()]
        assert known.namespace == pod.namespace
        assert [port["containerPort"] for one in pod.containers for port in one.get("ports", [])] == ports


def test_every_selector_finds_a_pod(overlay: Overlay) -> None:
    for policy in overlay.all("NetworkPolicy"):
        home = policy["metadata"]["namespace"]
        assert any(end.namespace == home and matches(policy["spec"]["podSelector"], end.labels) for end in KNOWN)
        rules = [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]
        for peer in (peer for rule in rules for peer in [*rule.get("from", []), *rule.get("to", [])]):
            assert "ipBlock" in peer or any(is_peer(peer, end, home) for end in KNOWN), policy["metadata"]["name"]


@pytest.mark.parametrize("source", [TASK, NODE, DRIVER, KFP_API], ids=["task", "node", "driver", "kfp"])
def test_runs_and_kfp_reach_mlflow(overlay: Overlay, source: End) -> None:
    assert reaches(overlay, source, MLFLOW, HTTP)
    assert not reaches(overlay, source, MLFLOW, 22)


@pytest.mark.parametrize("source", [STRANGER, ELSEWHERE, DATABASE, KFP_STORE], ids=["pod", "team", "database", "store"])
def test_others_do_not(overlay: Overlay, source: End) -> None:
    assert not reaches(overlay, source, MLFLOW, HTTP)


def test_only_mlflow_reaches_the_database_and_that_reaches_nobody(overlay: Overlay) -> None:
    assert reaches(overlay, MLFLOW, DATABASE, POSTGRES)
    for source in (*KNOWN[2:], STRANGER, ELSEWHERE):
        assert not reaches(overlay, source, DATABASE, POSTGRES)
    for target in (*KNOWN, INTERNET, CLOUD_METADATA):
        assert not any(reaches(overlay, DATABASE, target, port) for port in (HTTP, S3, DNS, SEAWEEDFS))


def test_mlflow_reaches_names_and_s3_and_no_more(overlay: Overlay) -> None:
    assert reaches(overlay, MLFLOW, NAMES, DNS)
    assert reaches(overlay, MLFLOW, INTERNET, S3)
    assert reaches(overlay, MLFLOW, KFP_STORE, SEAWEEDFS) == (overlay.name == "kind")
    assert not reaches(overlay, MLFLOW, INTERNET, 80)
    assert not reaches(overlay, MLFLOW, CLOUD_METADATA, S3)
    assert not reaches(overlay, MLFLOW, KFP_API, 8888)


def test_nothing_comes_to_a_task_and_all_goes_out(overlay: Overlay) -> None:
    assert not any(reaches(overlay, source, TASK, HTTP) for source in (*KNOWN, STRANGER, ELSEWHERE))
    for target, port in ((KFP_API, 8888), (KFP_STORE, SEAWEEDFS), (INTERNET, S3)):
        assert reaches(overlay, TASK, target, port)


def test_nodes_of_a_training_reach_each_other_s3_and_the_hub(overlays: dict[str, Overlay]) -> None:
    overlay = overlays["multi-node"]
    assert all(reaches(overlay, NODE, NODE, port) for port in (29500, 45123))
    assert reaches(overlay, NODE, NAMES, DNS)
    assert reaches(overlay, NODE, INTERNET, S3)
    assert not reaches(overlay, NODE, CLOUD_METADATA, S3)
    assert not reaches(overlay, NODE, KFP_API, 8888)
    assert not any(reaches(overlay, source, NODE, 29500) for source in (TASK, STRANGER, ELSEWHERE))


def test_what_is_new_in_the_tracking_namespace_is_shut_off_until_a_policy_names_it(overlay: Overlay) -> None:
    newcomer = End("advantageflow", {"app": "new"})
    assert not reaches(overlay, newcomer, INTERNET, S3)
    assert not reaches(overlay, MLFLOW, newcomer, HTTP)
