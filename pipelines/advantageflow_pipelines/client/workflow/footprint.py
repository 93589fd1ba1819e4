"""What a run takes of the one object that Argo keeps of it: the workflow's spec, and the status of all its nodes.

Argo compresses the status (gzip, base64) once it would not fit otherwise; a run whose object grows beyond the limit all
the same ends with "Request entity too large", without its exit task.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
from dataclasses import dataclass

from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.workflow.nodes import count_pods, run_nodes
from advantageflow_pipelines.client.workflow.parts import Json
from advantageflow_pipelines.client.workflow.spec import spec_bytes

LIMIT = 1_048_576  # bytes of a workflow, Argo's MAX_WORKFLOW_SIZE
METADATA = 1_500  # bytes of a workflow beside its spec and its nodes: labels, owner, conditions
_LOOSER = 1.06  # Go's gzip over zlib's, on the statuses that were recorded
_MEASURED = 3_000  # nodes that are compressed; more are taken to be alike


@dataclass(frozen=True)
class Footprint:
    """What a run takes when all of it has run, as KFP 2.17 ships its controller.

    Attributes:
        nodes: that Argo keeps.
        pods: as many of them, which are started.
        spec: bytes of the workflow's spec.
        status: bytes of the nodes, compressed.
    """

    nodes: int
    pods: int
    spec: int
    status: int

    @property
    def size(self) -> int:
        """Bytes of the object."""
        return METADATA + self.spec + self.status

    def __str__(self) -> str:
        share = f"{self.size / 1024:,.0f} of the {LIMIT // 1024:,} KB that Argo keeps of a run"
        return f"{self.nodes:,} nodes, {self.pods:,} pods, about {share}"


def footprint(package: Package, *, wrapped: bool = True) -> Footprint:
    """Work out what a run of the pipeline takes.

    Args:
        package: the pipeline, as it is sent.
        wrapped: with KFP's own `templateDefaults`, as `run_nodes`.
    """
    nodes = run_nodes(package, wrapped=wrapped)
    return Footprint(len(nodes), count_pods(nodes), spec_bytes(package), compressed(nodes))


def compressed(nodes: list[Json]) -> int:
    """Bytes of the status, as Argo writes it: nodes by their ids, in no order that brings equal ones together."""
    some = random.Random(0).sample(nodes, min(len(nodes), _MEASURED))
    text = json.dumps({node["id"]: node for node in some}, separators=(",", ":")).encode()
    return round(_LOOSER * len(base64.b64encode(gzip.compress(text, 6))) * len(nodes) / len(some))
