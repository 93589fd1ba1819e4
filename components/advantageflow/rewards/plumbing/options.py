"""Options of a reward: what settings give its class, held to the class's own signature."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from advantageflow.errors import SettingsError
from advantageflow.suggestions import suggest


def check_options(make: Callable[..., Any], options: Mapping[str, Any], *, reward: str, where: str) -> dict[str, Any]:
    """Hold options to the parameters of the class (or function) that makes a reward.
    Raises SettingsError: an option is unknown, missing, or has a value that does not fit; names it and what fits.

    Args:
        make: the class; options are its parameters that may be given by keyword.
        reward, where: its name, and the setting that holds the options, for errors.

    Returns:
        The options as the parameters' annotations want them: a list becomes a tuple, a text a Path.
    """
    signature = _signature(make)
    kinds = (_KEYWORD, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = {name: parameter for name, parameter in signature.parameters.items() if parameter.kind in kinds}
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values()):
        parameters |= {name: inspect.Parameter(name, _KEYWORD, default=None) for name in options.keys() - parameters}
    known = f"options of reward '{reward}'"
    for name in options:
        if name not in parameters:
            message = f"reward '{reward}' has no option '{name}'"
            raise SettingsError(message, where=f"{where}.{name}", remedy=suggest(name, parameters, what=known))
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            message = f"reward '{reward}' needs the option '{name}'"
            remedy = f"set {where}.{name} (of `advantageflow rewards`: --option {name}=...); "
            remedy += f"{known}: {', '.join(sorted(parameters))}"
            if inspect.isroutine(make):
                remedy += "; a function that scores images itself is written as score(prompts, images)"
            raise SettingsError(message, where=where, remedy=remedy)
    return {name: _fitted(parameters[name], value, reward, where) for name, value in options.items()}


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _signature(make: Callable[..., Any]) -> inspect.Signature:
    """With annotations as types; as texts, which nothing is held to, where one names what its module lacks."""
    try:
        return inspect.signature(make, eval_str=True)
    except (NameError, AttributeError, TypeError):
        return inspect.signature(make)


def _fitted(parameter: inspect.Parameter, value: Any, reward: str, where: str) -> Any:
    """The value as the parameter's annotation wants it; as it is where there is none that can be checked."""
    if parameter.annotation is parameter.empty or isinstance(parameter.annotation, str):
        return value
    try:
        adapter = TypeAdapter(parameter.annotation)
    except PydanticUserError:
        return value
    try:
        return adapter.validate_json(json.dumps(value), strict=True)  # JSON's rules: lists for tuples, texts for paths
    except ValidationError as error:
        wanted = "; ".join(dict.fromkeys(line["msg"] for line in error.errors()))
        default = "" if parameter.default is parameter.empty else f"; it is {parameter.default!r} if left out"
        quote = f"; a text of digits needs quotes: --set '{where}.{parameter.name}=\"{value}\"'"
        remedy = f"{wanted}{default}{quote if isinstance(value, int | float) and 'string' in wanted else ''}"
        message = f"{value!r} does not fit the option '{parameter.name}' of reward '{reward}'"
        raise SettingsError(message, where=f"{where}.{parameter.name}", remedy=remedy) from error
