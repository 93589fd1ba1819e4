"""Objectives by name: built in, plug-ins of the entry point group 'advantageflow.objectives', and classes by path."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from advantageflow.errors import SettingsError
from advantageflow.objectives.base import Objective, TransitionObjective, VelocityObjective
from advantageflow.plugins.registry import Registry
from advantageflow.problems import Problem, SectionError, problems_of
from advantageflow.suggestions import did_you_mean, suggest

BUILT_IN = {
    "advantage_flow": "advantageflow.objectives.advantage_flow:AdvantageFlow",
    "awm": "advantageflow.objectives.awm:Awm",
    "diffusion_nft": "advantageflow.objectives.diffusion_nft:DiffusionNft",
    "flow_grpo": "advantageflow.objectives.flow_grpo:FlowGrpo",
}
DEFAULT = "advantage_flow"
OBJECTIVES = Registry("objective", "advantageflow.objectives", BUILT_IN, "; or package.module:Class of your own")


def make_objective(value: Any) -> Objective:
    """The objective that settings describe. Raises SectionError: there is no such objective, or no such option of it,
    or a value does not fit; names the option.

    Args:
        value: its name; or a mapping of its options with its name, the default one's if there is none; or an objective.
    """
    if isinstance(value, Objective):
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        remedy = f"give the name of one ({', '.join(BUILT_IN)}), or a section with its name and options"
        raise SectionError([Problem("", f"{value!r} is not an objective", remedy)])
    name = value.get("name", DEFAULT)
    kind = _class_of(name)
    problems = [_unknown(option, kind, name) for option in value if option not in kind.model_fields]
    try:
        known = {option: given for option, given in value.items() if option in kind.model_fields}
        objective = kind.model_validate({**known, "name": name})
    except ValidationError as error:
        raise SectionError([*problems, *problems_of(error, kind, {})]) from error
    if problems:
        raise SectionError(problems)
    return objective


def _class_of(name: Any) -> type[Objective]:
    """Raises SectionError where there is none of this name, it cannot be imported, or it is not an objective."""
    if not isinstance(name, str):
        raise SectionError([Problem("name", f"{name!r} is not allowed", "give text: the name of an objective")])
    try:
        source = OBJECTIVES.source(name, "name")
        kind = source.load("name")
    except SettingsError as error:
        raise SectionError([Problem("name", error.message, error.remedy)]) from error
    except Exception as error:
        message = f"objective '{name}' ({source.origin}) cannot be loaded: {type(error).__name__}: {error}"
        raise SectionError([Problem("name", message, "install what it needs, or choose another one")]) from error
    bases = (VelocityObjective, TransitionObjective)
    if not (inspect.isclass(kind) and issubclass(kind, bases)) or inspect.isabstract(kind):
        message = f"'{name}' ({source.origin}) is not an objective"
        remedy = f"make it a subclass of {' or '.join(base.__name__ for base in bases)} with a method 'loss'"
        raise SectionError([Problem("name", message, f"{remedy}: see advantageflow.objectives.base")])
    return kind


def _unknown(option: str, kind: type[Objective], name: str) -> Problem:
    """An option that the objective lacks: the nearest of its own, and whose else it is."""
    whose = [other for other in BUILT_IN if option in _class_of(other).model_fields]
    remedy = suggest(option, kind.model_fields, what=f"options of {name}")
    if whose and not did_you_mean(option, kind.model_fields):
        remedy = (
            f"it is an option of {' and '.join(whose)}; options of {name}: {', '.join(sorted(kind.model_fields))}; "
            "training.objective=NAME changes the objective and leaves behind all options of the one before"
        )
    return Problem(option, f"objective '{name}' has no option '{option}'", remedy)
