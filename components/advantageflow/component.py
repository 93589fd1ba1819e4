"""How a stage's function becomes a Kubeflow component: run from its stage's image, its documentation left behind.

Kubeflow writes a component's source and the descriptions of its inputs into several nodes for each of its tasks, and
all nodes of a run must fit into one object of a cluster. Here a task names the module that lies in its image, and the
run form shows the pipeline's own parameters, whose descriptions stay. It names the version too, which task.py holds to
the image's.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from advantageflow import __version__
from advantageflow.image import default_image

_STARTED = ["python3", "-m", "advantageflow.task", "kfp.dsl.executor_main"]


def stage_component(image: str, **options: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a component of a function at the top of a module: `@stage_component("rollout")`.

    Args:
        image: of docker/, by its name there; a pipeline may be compiled for another. It has the function's module.
        **options: further ones of Kubeflow's dsl.component.
    """

    def make(function: Callable[..., None]) -> Any:
        component = dsl.component(base_image=default_image(image), install_kfp_package=False, **options)(function)
        spec = component.component_spec
        spec.implementation.container.command = [*_STARTED, f"{function.__module__}=={__version__}"]
        for one in (*(spec.inputs or {}).values(), *(spec.outputs or {}).values()):
            one.description = None
        return component

    return make


def reads_environment(task: PipelineTask) -> bool:
    """Whether the task is one of a stage component, which reads its environment from mounted folders too."""
    assert task.container_spec is not None
    return list(task.container_spec.command or [])[: len(_STARTED)] == _STARTED
