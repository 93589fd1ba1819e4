"""The evaluation stage as a Kubeflow component: its inputs and outputs, no logic."""

from kfp import dsl

from advantageflow.image import default_image


@dsl.component(base_image=default_image("evaluation"), install_kfp_package=False)
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
    summary: dsl.Output[dsl.Markdown],
    base: dsl.Input[dsl.Artifact] = None,
) -> None:
    """Judge a policy on held-out prompts, and hold its images against the base policy's report if that is given."""
    from advantageflow.runtime import run_stage_task

    run_stage_task(
        "evaluation",
        settings=evaluation_settings,
        model=model_settings,
        reward=reward_settings,
        seed=seed,
        round_index=round_index,
        images=images,
        prompts=prompts.path,
        conditioning=conditioning.path,
        policy=policy.path,
        report_out=report.path,
        summary_out=summary.path,
        base=base.path if base else "",
    )
