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

    Args:
        make: the class; options are its parameters that may be given by keyword.
        options: JSON-able values by name.
        reward: the reward's name, for errors.
        where: the setting that holds the options, such as 'reward.options'.

    Returns:
        The options as the parameters' annotations want them: a list becomes a tuple, a text a Path.

    Raises:
        SettingsError: an option is unknown, missing, or has a value that does not fit; names it and what fits.
    """
    parameters = _parameters(make)
    if _takes_any(make):
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
            raise SettingsError(message, where=where, remedy=remedy)
    return {name: _fitted(make, parameters[name], value, reward, where) for name, value in options.items()}


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameters(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """What may be given by keyword, by name."""
    return {
        name: parameter
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind in (_KEYWORD, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    }


def _takes_any(make: Callable[..., Any]) -> bool:
    return any(one.kind is inspect.Parameter.VAR_KEYWORD for one in inspect.signature(make).parameters.values())


def _fitted(make: Callable[..., Any], parameter: inspect.Parameter, value: Any, reward: str, where: str) -> Any:
    """The value as the parameter's annotation wants it; as it is where there is none that can be checked."""
    adapter = _adapter(make, parameter.annotation)
    if adapter is None:
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


def _adapter(make: Callable[..., Any], annotation: Any) -> TypeAdapter[Any] | None:
    """A check of values against an annotation; None for none, or one that names what its module does not import."""
    if annotation is inspect.Parameter.empty:
        return None
    function = make.__init__ if inspect.isclass(make) else make
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return TypeAdapter(eval(annotation, dict(names)) if isinstance(annotation, str) else annotation)
    except (NameError, AttributeError, TypeError, PydanticUserError):
        return None
