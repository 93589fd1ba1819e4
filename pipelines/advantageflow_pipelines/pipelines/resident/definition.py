"""The resident pipeline as the registry knows it: the online one, with its rounds in one stage."""

from dataclasses import replace

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Output, Stage, Work, imported
from advantageflow_pipelines.pipelines.online.definition import ONLINE, evaluations, parameters, run_work
from advantageflow_pipelines.pipelines.parameters import Parameter


def _parameters(settings: RunSettings) -> list[Parameter]:
    """Those of pipeline online, without those of rollouts; what training is given there, the loop is given here."""
    of_online = [one for one in parameters(settings) if one.stage != "rollout"]
    return [one._replace(stage="loop") if one.stage == "training" else one for one in of_online]


def _work(settings: RunSettings, texts: int) -> dict[str, Work]:
    """A loop leads from each evaluation to the next."""
    online, tasks = run_work(settings, texts), len(evaluations(settings)) - 1
    rollout, training = online["rollout"], online["training"]
    loop = Work(
        tasks,
        images=rollout.images,
        forwards=rollout.forwards + training.forwards,
        backwards=training.backwards,
        decodes=rollout.decodes,
        scored=rollout.images,
        batch=rollout.batch,
        policies=tasks,
        reads_prompts=rollout.reads_prompts + training.reads_prompts,
        takes_policies=tasks - 1,
        remedy=f"{training.remedy}; or {rollout.remedy}",
    )
    return {"prompts": online["prompts"], "loop": loop, "evaluation": online["evaluation"]}


RESIDENT = replace(
    ONLINE,
    name="resident",
    summary="fine-tune a rectified-flow model on-policy: rounds in one process that keeps everything loaded",
    stages=(
        Stage("prompts", on_model_device=True, rewards="all"),
        Stage("loop", on_model_device=True, rewards="trained on", over_nodes=True),
        Stage("evaluation", on_model_device=True, rewards="all"),
    ),
    build=imported(f"{__package__}.pipeline", "resident_tasks"),
    inline=imported(f"{__package__}.inline", "run_resident"),
    work=_work,
    policies=(Output("prompts", "policy"), Output("loop", "new_policy")),
    parameters=_parameters,
    handed=(),
)
