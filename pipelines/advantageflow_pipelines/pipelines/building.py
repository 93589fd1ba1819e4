"""A run's pipeline, built by its definition: for Kubeflow's local runner, or compiled to a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.images import default_images
from advantageflow_pipelines.placing.placement import Placement
from advantageflow_pipelines.placing.resources.records import Resources

if TYPE_CHECKING:
    from kfp.dsl.base_component import BaseComponent


def build_pipeline(
    settings: RunSettings,
    images: Mapping[str, str] | None = None,
    resources: Resources | None = None,
    *,
    in_order: bool = False,
) -> BaseComponent:
    """The pipeline of a run.

    Args:
        settings: the run; they name the pipeline.
        images: container image of each stage; the defaults if None.
        resources: what each stage gets of a cluster, as `fit` gives; None on one machine.
        in_order: let nothing run beside a round. A cluster evaluates beside the next round; one machine has nothing to
            gain from that, and stops at the first failure this way.
    """
    pipeline = pipeline_of(settings)
    placement = Placement(settings, images or default_images(pipeline), resources)
    return pipeline.build(settings, placement, in_order)


def compile_pipeline(
    settings: RunSettings,
    path: Path,
    images: Mapping[str, str] | None = None,
    resources: Resources | None = None,
    *,
    in_order: bool = False,
) -> None:
    """Write the pipeline of a run as Kubeflow IR (YAML) to `path`; see build_pipeline."""
    from kfp import compiler

    compiler.Compiler().compile(build_pipeline(settings, images, resources, in_order=in_order), str(path))
