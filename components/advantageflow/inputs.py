"""A function that takes `**given`, with the signature that Kubeflow reads: an input for each of the names."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

_NO_DEFAULTS: Mapping[str, Any] = {}


def with_inputs(
    function: Callable[..., Any], inputs: Mapping[str, Any], defaults: Mapping[str, Any] = _NO_DEFAULTS
) -> Callable[..., Any]:
    """The function with inputs of these names in place of `**given`, before those that it names itself; without, as it
    is.

    `inputs` are by name their types, which Kubeflow's compiler reads; or their values, whose types are then theirs.
    """
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    if len(own) == len(signature.parameters):
        return function
    further = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=kind if isinstance(kind, type) else type(kind),
            default=defaults.get(name, inspect.Parameter.empty),
        )
        for name, kind in inputs.items()
        if name not in signature.parameters
    ]
    names = [one.name for one in (*further, *own)]

    @functools.wraps(function)
    def called(*values: Any, **named: Any) -> Any:
        return function(**dict(zip(names, values, strict=False)), **named)

    gives = signature.return_annotation  # Kubeflow takes no text for None
    gives = inspect.Signature.empty if gives in (None, "None") else gives
    called.__signature__ = inspect.Signature([*further, *own], return_annotation=gives)  # type: ignore[attr-defined]
    return called
