"""How many tasks a run has, and what each stage does: that of pipeline online, with its rounds in one stage."""

from __future__ import annotations

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.online.schedule import evaluations
from advantageflow_pipelines.pipelines.online.work import run_work as online_work
from advantageflow_pipelines.pipelines.work import Work


def count_tasks(settings: RunSettings) -> dict[str, int]:
    """Tasks of a run by stage: a loop leads from each evaluation to the next."""
    judged = len(evaluations(settings))
    return {"prompts": 1, "loop": judged - 1, "evaluation": judged}


def run_work(settings: RunSettings, texts: int) -> dict[str, Work]:
    """The work of a run by stage.

    Args:
        settings: of the run.
        texts: distinct prompts, the empty one included; 0 where they are not known.
    """
    online, tasks = online_work(settings, texts), count_tasks(settings)["loop"]
    rollout, training = online["rollout"], online["training"]
    loop = Work(
        tasks,
        images=rollout.images,
        forwards=rollout.forwards + training.forwards,
        backwards=training.backwards,
        decodes=rollout.decodes,
        scored=online["reward"].scored,
        batch=rollout.batch,
        policies=tasks,
        reads_prompts=rollout.reads_prompts + training.reads_prompts,
        takes_policies=tasks - 1,
        remedy=f"{training.remedy}; or {rollout.remedy}",
    )
    return {"prompts": online["prompts"], "loop": loop, "evaluation": online["evaluation"]}
