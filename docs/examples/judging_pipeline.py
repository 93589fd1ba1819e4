"""A pipeline of somebody else's: judges a policy on held-out prompts. All that it takes is in this module.

Kubeflow reads the annotations of pipeline functions, so they must not be postponed: no `annotations` import here.
"""

from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from advantageflow.evaluation.component import evaluation
from advantageflow.prompts.component import prompts
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Evaluation, Output, Pipeline, Stage
from advantageflow_pipelines.pipelines.parameters import Parameter, inputs_of, shown_for, taking
from advantageflow_pipelines.pipelines.work import encoding_work, evaluation_work
from advantageflow_pipelines.placing.placement import Placement

PARAMETERS = (
    Parameter("images", "evaluation", "images"),
    Parameter("guidance_scale", "evaluation", "guidance_scale", "evaluation"),
)


def build(settings: RunSettings, placement: Placement, in_order: bool) -> BaseComponent:
    shown = shown_for(settings, PARAMETERS)
    model, reward = settings.model.model_dump_json(), settings.reward.model_dump_json()

    @dsl.pipeline(name="judging")
    @taking(shown, in_form=True)
    def judging(
        prompt_settings: str = settings.prompts.model_dump_json(),
        evaluation_settings: str = settings.evaluation.model_dump_json(),
        seed: int = settings.seed,
        init_policy: str = settings.init_policy or "",
        **given: Any,
    ) -> None:
        common = {"model_settings": model, "reward_settings": reward, "seed": seed}
        prepared = prompts(
            prompt_settings=prompt_settings,
            store_settings=settings.store.model_dump_json(),
            init_policy=init_policy,
            **common,
        )
        placement.place("prompts", prepared)
        judged = evaluation(
            evaluation_settings=evaluation_settings,
            round_index=0,
            images=given["images"],
            prompts=prepared.outputs["prompts"],
            conditioning=prepared.outputs["conditioning"],
            policy=prepared.outputs["policy"],
            **common,
            **inputs_of("evaluation", shown, given),
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
    tasks=lambda settings: {"prompts": 1, "evaluation": 1},
    work=lambda settings, texts: {
        "prompts": encoding_work(1, texts),
        "evaluation": evaluation_work(settings.evaluation, [settings.evaluation.images], settings.prompts.eval_prompts),
    },
    prompts=Output("prompts", "prompts"),
    policies=(Output("prompts", "policy"),),
    report=Output("evaluation", "report"),
)
