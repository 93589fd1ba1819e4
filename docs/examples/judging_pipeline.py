"""A pipeline of somebody else's: judges a policy on held-out prompts. All that it takes is in this module."""

from collections.abc import Callable
from typing import Any

from advantageflow.evaluation.component import evaluation
from advantageflow.prompts.component import prompts
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import (
    Evaluation,
    Output,
    Pipeline,
    Stage,
    encoding_work,
    evaluation_work,
)
from advantageflow_pipelines.pipelines.parameters import Form, Parameter
from advantageflow_pipelines.placing.placement import Placement

PARAMETERS = (
    Parameter("images", "evaluation", "images"),
    Parameter("guidance_scale", "evaluation", "guidance_scale", "evaluation"),
)


def build(settings: RunSettings, placement: Placement, form: Form) -> Callable[..., None]:
    def judging(**given: Any) -> None:
        prepared = placement.place("prompts", prompts(**form.inputs("prompts", prompts, given)))
        judged = evaluation(
            round_index=0,
            images=given["images"],
            prompts=prepared.outputs["prompts"],
            conditioning=prepared.outputs["conditioning"],
            policy=prepared.outputs["adapter"],
            **form.inputs("evaluation", evaluation, given),
        )
        placement.place("evaluation", judged)

    return judging


JUDGING = Pipeline(
    name="judging",
    summary="judge a policy on held-out prompts",
    stages=(
        Stage("prompts", on_model_device=True, rewards="all"),
        Stage("evaluation", on_model_device=True, rewards="all"),
    ),
    build=build,
    describe=lambda settings: f"judging {settings.init_policy or 'the base model'}",
    evaluations=lambda settings: [Evaluation(0, settings.evaluation.images)],
    work=lambda settings, texts: {
        "prompts": encoding_work(1, texts),
        "evaluation": evaluation_work(settings.evaluation, [settings.evaluation.images], settings.prompts.eval_prompts),
    },
    prompts=Output("prompts", "prompts"),
    policies=(Output("prompts", "policy"),),
    report=Output("evaluation", "report"),
    parameters=lambda settings: PARAMETERS,
    sections=("prompts", "model", "reward", "evaluation", "store"),
)
