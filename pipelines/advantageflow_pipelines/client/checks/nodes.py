"""Whether the cluster has nodes for each stage: enough of its GPUs, cores and memory, with the labels that it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from advantageflow.kubernetes_api import explained
from advantageflow_pipelines.client.checks.findings import TIMEOUT, Finding, State, fine, to_do
from advantageflow_pipelines.placing.resources.stage_resources import Resources, StageResources

_MEMORY_LABEL = "nvidia.com/gpu.memory"  # MiB of one GPU, as NVIDIA's feature discovery writes it
Memory = Callable[[], Mapping[str, int]]
_REPELS = ("NoSchedule", "NoExecute")


def check_nodes(core: Any, resources: Resources, memory: Memory) -> Iterator[Finding]:
    """A line for each stage that wants GPUs or finds no node.

    `memory` gives the bytes that a stage needs on a GPU, by stage, where they are known; it takes seconds.
    """
    with explained("list", "nodes", "the cluster"):
        nodes = core.list_node(_request_timeout=TIMEOUT).items
    labelled = any(_MEMORY_LABEL in (node.metadata.labels or {}) for node in nodes)
    needed = memory() if labelled and any(one.gpus for one in resources.stages.values()) else {}
    for stage, given in resources.stages.items():
        what = f"nodes for {stage}"
        wanted = resources.nodes if stage == resources.trainer else 1
        fitting = [node for node in nodes if _takes(node, given)]
        need = f"{wanted} with {given.gpus} {given.gpu_type}, " if given.gpus else ""
        need += f"{given.cpu} cores and {given.memory}"
        if len(fitting) < wanted:
            words = (
                f"{len(fitting)} of {len(nodes)} could take a task: {need}; unless nodes come on demand, add some, or "
                "choose smaller --resources (node_selector and tolerations count too)"
            )
            yield Finding(what, State.ADVICE, words)
        elif too_small := _too_small(fitting, wanted, needed.get(stage, 0)):
            remedy = (
                "choose nodes by node_selector, or lower what `advantageflow plan` shows (microbatches, image size)"
            )
            yield to_do(what, too_small, remedy)
        elif given.gpus:
            yield fine(what, f"{len(fitting)} of {len(nodes)} can take a task: {need}")


def _takes(node: Any, given: StageResources) -> bool:
    """Whether the node, with nothing else on it, could take a task."""
    from kubernetes.utils.quantity import parse_quantity

    has = node.status.allocatable or {}
    asked = {"cpu": given.cpu, "memory": given.memory} | ({given.gpu_type: str(given.gpus)} if given.gpus else {})
    labels = node.metadata.labels or {}
    taints = [taint for taint in node.spec.taints or [] if taint.effect in _REPELS]
    return (
        not node.spec.unschedulable
        and given.node_selector.items() <= labels.items()
        and all(_tolerated(taint, given) for taint in taints)
        and all(parse_quantity(has.get(name, "0")) >= parse_quantity(size) for name, size in asked.items())
    )


def _tolerated(taint: Any, given: StageResources) -> bool:
    return any(
        (one.key in (None, taint.key)) and (one.effect in (None, taint.effect))
        and (one.operator == "Exists" or one.value == taint.value)
        for one in given.tolerations
    )  # fmt: skip


def _too_small(nodes: list[Any], wanted: int, need: int) -> str:
    """What their GPUs lack in memory; "" where enough have it, or do not say."""
    sizes = [int((node.metadata.labels or {}).get(_MEMORY_LABEL, 0)) * 2**20 for node in nodes]
    large = [size for size in sizes if size == 0 or size >= need]
    if len(large) >= wanted:
        return ""
    return f"about {need / 1e9:.1f} GB are needed on a GPU, and those there have {max(sizes) / 1e9:.0f}"
