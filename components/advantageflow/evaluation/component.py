"""The evaluation stage as a Kubeflow component: its inputs and outputs, no logic."""

from typing import Optional

from kfp import dsl

from advantageflow.component import stage_component


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
    from advantageflow.runtime import run_stage_task
    from advantageflow.store.files import read_json

    run_stage_task(
        "evaluation",
        settings=evaluation_settings,
        parameters={"guidance_scale": guidance_scale},
        model=model_settings,
        reward=reward_settings,
        seed=seed,
        round_index=round_index,
        images=images,
        prompts=prompts.path,
        conditioning=conditioning.path,
        policy=policy.path,
        report_out=report.path,
        page_out=page.path,
        metrics_out=metrics.path,
        base=base.path if base else "",
    )
    metrics.metadata.update(read_json(metrics.path))
