"""The evaluation stage as a Kubeflow component: its inputs and outputs, no logic."""

from typing import Optional

from kfp import dsl

from advantageflow.component import stage_component
from advantageflow.runtime import run_stage_task
from advantageflow.store.files import read_json


@stage_component("evaluation")
def evaluation(
    evaluation_settings: str,
    model_settings: str,
    reward_settings: str,
    seed: int,
    round_index: int,
    images: int,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    policy: dsl.Input[dsl.Model],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    base: dsl.Input[dsl.Artifact] = None,
    guidance_scale: Optional[float] = None,
) -> None:
    """Judge a policy on held-out prompts, and hold its images against the base policy's report if that is given."""
    run_stage_task("evaluation", **locals(), beside_base=base is None)
    metrics.metadata.update(read_json(metrics.path))


@stage_component("evaluation")
def promotion(
    promotion_settings: str,
    evaluation_settings: str,
    model_settings: str,
    reward_settings: str,
    seed: int,
    inputs_sha256: str,
    prompts: dsl.Input[dsl.Dataset],
    conditioning: dsl.Input[dsl.Dataset],
    champion: dsl.Input[dsl.Model],
    candidate: dsl.Input[dsl.Model],
    before: dsl.Input[dsl.Artifact],
    after: dsl.Input[dsl.Artifact],
    decision: dsl.Output[dsl.Artifact],
) -> None:
    """Judge a candidate against the champion on further seeds, and decide which is to be used."""
    run_stage_task("promotion", module="advantageflow.evaluation.promotion", **locals())
