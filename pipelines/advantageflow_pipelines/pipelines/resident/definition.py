"""The resident pipeline as the registry knows it; what defines it for Kubeflow is imported when it is built."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Output, Pipeline, Stage
from advantageflow_pipelines.pipelines.online.parameters import parameters
from advantageflow_pipelines.pipelines.online.schedule import describe, evaluations
from advantageflow_pipelines.pipelines.parameters import Parameter
from advantageflow_pipelines.pipelines.resident.work import count_tasks, run_work

if TYPE_CHECKING:
    from advantageflow_pipelines.local.inline import Stages
    from advantageflow_pipelines.pipelines.parameters import Form
    from advantageflow_pipelines.placing.placement import Placement


def _build(settings: RunSettings, placement: Placement, form: Form, in_order: bool) -> Callable[..., None]:
    from advantageflow_pipelines.pipelines.resident.pipeline import resident_tasks

    if placement.on_nodes:
        remedy = "give it one node, or use pipeline online, whose training runs on several"
        raise SettingsError("the loop runs on one node", where="loop.nodes of the resources", remedy=remedy)
    return resident_tasks(settings, placement, form, in_order=in_order)


def _inline(settings: RunSettings, stages: Stages) -> None:
    from advantageflow_pipelines.pipelines.resident.inline import run_resident

    run_resident(settings, stages)


def _parameters(settings: RunSettings) -> list[Parameter]:
    """As of pipeline online, without those of rollouts; what training is given there, the loop is given here."""
    of_online = [one for one in parameters(settings) if one.stage != "rollout"]
    return [one._replace(stage="loop") if one.stage == "training" else one for one in of_online]


RESIDENT = Pipeline(
    name="resident",
    summary="fine-tune a rectified-flow model on-policy: rounds in one process that keeps everything loaded",
    stages=(
        Stage("prompts", on_model_device=True, rewards="all"),
        Stage("loop", on_model_device=True, rewards="trained on", over_nodes=True),
        Stage("evaluation", on_model_device=True, rewards="all"),
    ),
    build=_build,
    inline=_inline,
    describe=describe,
    evaluations=evaluations,
    tasks=count_tasks,
    work=run_work,
    prompts=Output("prompts", "prompts"),
    policies=(Output("prompts", "policy"), Output("loop", "new_policy")),
    report=Output("evaluation", "report"),
    parameters=_parameters,
    resources=files(__package__) / "resources",
)
