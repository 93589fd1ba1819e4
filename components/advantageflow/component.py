"""How a stage's function becomes a Kubeflow component: in its stage's image, its documentation left behind.

Kubeflow writes a component's source and the descriptions of its inputs into several nodes for each of its tasks, and
all nodes of a run must fit into one object of a cluster. The run form shows the pipeline's own parameters, whose
descriptions stay.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from kfp import dsl

from advantageflow.image import default_image


def stage_component(image: str, **options: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a component of a function: `@stage_component("rollout")`.

    Args:
        image: of docker/, by its name there; a pipeline may be compiled for another.
        **options: further ones of Kubeflow's dsl.component.
    """

    def make(function: Callable[..., None]) -> Any:
        component = dsl.component(base_image=default_image(image), install_kfp_package=False, **options)(function)
        spec = component.component_spec
        container = spec.implementation.container
        container.command = [_undocumented(part, function.__name__) for part in container.command]
        for one in (*(spec.inputs or {}).values(), *(spec.outputs or {}).values()):
            one.description = None
        return component

    return make


def _undocumented(text: str, function: str) -> str:
    """A source without the documentation of the function that it defines; any other text as it is."""
    if f"def {function}(" not in text:
        return text
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == function and ast.get_docstring(node) is not None:
            documentation = node.body[0]
            del lines[documentation.lineno - 1 : documentation.end_lineno]
    return "".join(lines)
