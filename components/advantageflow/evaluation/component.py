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
    """Judge a policy on held-out prompts, and hold its images against the base policy's report if that is given.

    Args:
        evaluation_settings: EvaluationSettings as JSON.
        model_settings: ModelSettings as JSON.
        reward_settings: RewardSettings as JSON.
        seed: of the run.
        round_index: the round that made the policy; 0 before round 1.
        images: how many to judge.
        prompts: of the run.
        conditioning: of the prompts.
        policy: whose adapter generates.
        report: numbers, every image's verdict, pictures.
        page: the report for people.
        metrics: strict and soft, and strict by task, for Kubeflow's page that compares runs.
        base: report of the base policy.
        guidance_scale: instead of evaluation_settings' own.
    """
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
    """Judge a candidate against the champion on further seeds, and decide which is to be used.

    Args:
        promotion_settings: PromotionSettings as JSON.
        evaluation_settings: EvaluationSettings as JSON.
        model_settings: ModelSettings as JSON.
        reward_settings: RewardSettings as JSON.
        seed: of the run.
        inputs_sha256: of what the run is made from.
        prompts: of the run.
        conditioning: of the prompts.
        champion: that the run started from.
        candidate: that it trained.
        before: report of the champion.
        after: report of the candidate.
        decision: and the reports of the further seeds.
    """
    run_stage_task("promotion", module="advantageflow.evaluation.promotion", **locals())
