"""A function that takes `**given`, with the signature that Kubeflow reads: an input for each of the names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def with_inputs(function: Callable[..., None], inputs: Mapping[str, Any]) -> Callable[..., None]:
    """The function with inputs of these names in place of `**given`; those that it names itself stay as they are.

    Args:
        function: any; one that takes no `**given` is left alone.
        inputs: by name their types, which Kubeflow's compiler reads; or their values, whose types are then theirs.
    """
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    if len(own) == len(signature.parameters):
        return function
    further = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, annotation=kind if isinstance(kind, type) else type(kind)
        )
        for name, kind in inputs.items()
        if name not in signature.parameters
    ]

    @functools.wraps(function)
    def called(**given: Any) -> None:
        function(**given)

    called.__signature__ = signature.replace(parameters=[*own, *further])  # type: ignore[attr-defined]
    return called
