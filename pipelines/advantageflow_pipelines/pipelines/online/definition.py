"""The online pipeline as the registry knows it; what defines it for Kubeflow is imported when it is built."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Output, Pipeline, Stage
from advantageflow_pipelines.pipelines.online.parameters import parameters
from advantageflow_pipelines.pipelines.online.schedule import count_tasks, describe, evaluations
from advantageflow_pipelines.pipelines.online.work import run_work

if TYPE_CHECKING:
    from advantageflow_pipelines.local.inline import Stages
    from advantageflow_pipelines.pipelines.parameters import Form
    from advantageflow_pipelines.placing.placement import Placement


def _build(settings: RunSettings, placement: Placement, form: Form, in_order: bool) -> Callable[..., Any]:
    from advantageflow_pipelines.pipelines.online.pipeline import online_tasks

    return online_tasks(settings, placement, form, in_order=in_order)


def _inline(settings: RunSettings, stages: Stages) -> None:
    from advantageflow_pipelines.pipelines.online.inline import run_online

    run_online(settings, stages)


ONLINE = Pipeline(
    name="online",
    summary="fine-tune a rectified-flow model by rounds of rollout, reward and training",
    stages=(
        Stage("prompts", on_model_device=True, rewards="all"),  # which it tries on golden pictures
        Stage("rollout", on_model_device=True, sharded=True),
        Stage("reward", rewards="trained on", sharded=True),
        Stage("training", on_model_device=True, over_nodes=True),
        Stage("evaluation", on_model_device=True, rewards="all"),
    ),
    build=_build,
    inline=_inline,
    describe=describe,
    evaluations=evaluations,
    tasks=count_tasks,
    work=run_work,
    prompts=Output("prompts", "prompts"),
    policies=(Output("prompts", "policy"), Output("training", "new_policy")),
    report=Output("evaluation", "report"),
    parameters=parameters,
    handed=("prompts", "conditioning", "policy", "rollout_policy", "base"),
    resources=files(__package__) / "resources",
)
