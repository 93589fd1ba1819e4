"""A run's pipeline, built by its definition: for Kubeflow's local runner, or to be compiled.

On a cluster every pipeline gets a first task, which opens the run in MLflow, and a last one, which ends it there with
its true final state, whatever came of the others.
"""

from collections.abc import Callable, Mapping
from typing import Any

from advantageflow.annotations import BaseComponent
from advantageflow.settings import RunSettings
from advantageflow.tracking.continuing import FIRST_RUN, parameter_of
from advantageflow.tracking.recorder import run_name
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import Pipeline, Segment
from advantageflow_pipelines.pipelines.parameters import Form, run_form, taking, with_handed
from advantageflow_pipelines.placing.images import default_images
from advantageflow_pipelines.placing.placement import Placement
from advantageflow_pipelines.placing.resources.stage_resources import Resources


def build_pipeline(
    settings: RunSettings,
    images: Mapping[str, str] | None = None,
    resources: Resources | None = None,
    *,
    segment: Segment | None = None,
) -> BaseComponent:
    """The pipeline of a run.

    Args:
        settings: the run; they name the pipeline.
        images: container image of each stage; the defaults if None.
        resources: what each stage gets of a cluster, as `fit` gives; None on one machine.
        segment: of the run, if not all of it; later ones take what the one before hands on as further parameters.
    """
    from kfp import dsl

    pipeline = pipeline_of(settings)
    placement = Placement(settings, images or default_images(pipeline), resources, segment)
    form = run_form(settings, pipeline.parameters(settings), pipeline.sections)
    tasks = pipeline.build(settings, placement, form)
    if resources is not None:
        tasks = _opened_and_closed(tasks, pipeline, placement, form)

    def run(**given: Any) -> None:  # without what the tasks give to a pipeline that builds on them
        tasks(**given)

    run.__doc__ = tasks.__doc__
    named = dsl.pipeline(name=f"advantageflow-{pipeline.name}", description=pipeline.summary)
    if segment is not None and segment.first > 1:
        form = with_handed(form, FIRST_RUN, *map(parameter_of, pipeline.handed), *pipeline.told)
    return named(taking(form, outermost=True)(run))


def _opened_and_closed(
    tasks: Callable[..., None], pipeline: Pipeline, placement: Placement, form: Form
) -> Callable[..., None]:
    """A pipeline's tasks on a cluster, between one that opens the run in MLflow and one that ends it.

    The last is a task of its own, as only Kubeflow sees that a pod was killed, evicted, never started or not started
    again; the task in it, or the last evaluation, could not tell. It also ends what they left on nodes. On one machine
    the process that started the run does all this.
    """
    from kfp import dsl

    from advantageflow.tracking.component import closing, opening_component

    assert placement.resources is not None
    nodes = placement.resources.nodes
    # The image that has what it needs to end nodes.
    last_image = pipeline.trainer if placement.on_nodes and pipeline.trainer else pipeline.report.stage
    judged_last = pipeline.evaluations(placement.settings)[-1].round_index
    last_task = pipeline.last_task or run_name({"stage": pipeline.report.stage, "round": judged_last, "shard": None})
    open_run = opening_component({one.name: one.kind for one in form.shown})

    segment = placement.segment

    def run(**given: Any) -> None:
        earlier = {FIRST_RUN: given[FIRST_RUN]} if FIRST_RUN in given else {}
        goes_on = {"goes_on": True} if segment is not None and segment.following else {}
        store = given.get("store_settings", "{}")
        closed = closing(nodes=nodes, store_settings=store, **earlier, **goes_on)
        with dsl.ExitHandler(placement.place_own("closing", closed, last_image), name="run"):
            opened = open_run(
                places={one.name: one.place for one in form.shown}, last_task=last_task, **earlier, **form.values(given)
            )
            known = set(_tasks())
            tasks(**given)
            for name, task in _tasks().items():
                if name not in known and not task.dependent_tasks and not any(c.task_name for c in task.channel_inputs):
                    task.after(opened)
            placement.place_own("opening", opened, pipeline.prompts.stage)

    run.__doc__ = tasks.__doc__
    return run


def _tasks() -> dict[str, Any]:
    """The tasks so far of the pipeline that is being built."""
    from kfp.dsl.pipeline_context import Pipeline as Building

    return dict(Building.get_default_pipeline().tasks)
