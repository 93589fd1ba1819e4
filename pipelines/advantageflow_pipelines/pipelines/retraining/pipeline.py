"""Retraining: look for what is new -> the online pipeline, from the champion on -> promotion."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from advantageflow.evaluation.component import promotion
from advantageflow.prompts.component import changes_component
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.online.pipeline import online_tasks
from advantageflow_pipelines.pipelines.parameters import Form
from advantageflow_pipelines.placing.placement import Placement


def retraining_tasks(settings: RunSettings, placement: Placement, form: Form) -> Callable[..., None]:
    """What makes the tasks of a run.

    On a cluster the first one asks MLflow for the champion, and the others are left out where nothing has changed. On
    one machine the process that starts the run has done that. Of a run in segments the first one looks, also whether an
    earlier run of its schedule goes on, as Kubeflow counts first segments alone. The last one decides, on the policy
    that the first one began with. Arguments are those of Pipeline.build.
    """
    online = online_tasks(settings, placement, form)
    gate = settings.promotion.model_dump_json(exclude_defaults=True)

    def retrain(given: dict[str, Any]) -> None:
        done = online(**given)
        if placement.segment is not None and placement.segment.following:
            return
        judged = promotion(
            promotion_settings=gate,
            prompts=done.shared["prompts"],
            conditioning=done.shared["conditioning"],
            champion=done.start,
            candidate=done.made["policy"],
            before=done.base,
            after=done.final,
            inputs_sha256=given.get("inputs_sha256", ""),
            **form.inputs("promotion", promotion, given),
        )
        placement.place("evaluation", judged).set_caching_options(False)  # what it does lies outside the pipeline

    def retraining(**given: Any) -> None:
        """Rounds of rollout, reward and training from the champion on, and a gate between it and what comes of them."""
        segment = placement.segment
        if placement.resources is None or (segment is not None and segment.first > 1):
            retrain(given)
            return
        look = changes_component({one.name: one.kind for one in form.shown})
        looked = look(
            places={one.name: one.place for one in form.shown},
            registered_model=settings.registered_model,
            further={"rounds": settings.rounds, "promotion": settings.promotion.model_dump(mode="json")},
            in_segments=segment is not None,
            **given,
        )
        if segment is not None:
            placement.asks_kubeflow(looked)
        placement.place("prompts", looked).set_caching_options(False)
        with dsl.If(looked.outputs["changed"] == "true", name="changed"):
            found = {"init_policy": looked.outputs["parent"], "inputs_sha256": looked.outputs["inputs_sha256"]}
            retrain({**given, **found})

    return retraining
