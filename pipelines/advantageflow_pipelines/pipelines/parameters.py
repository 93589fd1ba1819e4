"""Typed parameters of a pipeline: settings that the run form shows one by one, beside each section's JSON.

A parameter goes to the tasks that read it and to no others, which Kubeflow's cache then knows by what they read. It
holds instead of the JSON's value; see advantageflow/parameters.py.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from advantageflow.parameters import as_parameter, field_and_value, kind_of, locate
from advantageflow.settings import RunSettings


class Parameter(NamedTuple):
    """A setting that the run form shows.

    Attributes:
        name: in the form.
        section: of the run's settings.
        setting: in that section, or in one within it.
        stage: whose tasks are given it, as their input of the setting's name; empty where the pipeline uses it itself.
        description: the setting's own if empty.
    """

    name: str
    section: str
    setting: str
    stage: str = ""
    description: str = ""


@dataclass(frozen=True)
class Shown:
    """A parameter of one run's pipeline: with its type, and the run's value as its default."""

    parameter: Parameter
    kind: type
    default: bool | int | float | str
    description: str

    @property
    def name(self) -> str:
        return self.parameter.name


def shown_for(settings: RunSettings, table: Iterable[Parameter]) -> list[Shown]:
    """The parameters whose settings a run has; an objective without `lam`, for one, leaves that out."""
    found = []
    for one in table:
        section = getattr(settings, one.section)
        path = locate(section, one.setting)
        if path is not None:
            field, value = field_and_value(section, path)
            text = one.description or field.description or ""
            where = ".".join((one.section, *path))
            found.append(Shown(one, kind_of(field), as_parameter(field, value), f"{where}: {text}" if text else where))
    return found


def inputs_of(stage: str, shown: Iterable[Shown], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the tasks of a stage are given, by the names of their inputs; `given` is by the names in the form."""
    return {one.parameter.setting: given[one.name] for one in shown if one.parameter.stage == stage}


def taking(shown: Sequence[Shown], *, in_form: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a pipeline's function, which takes `**parameters`, the signature that Kubeflow reads.

    Args:
        shown: its parameters, before its own.
        in_form: whether it is the outermost, whose parameters have defaults and descriptions.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        further = [
            inspect.Parameter(
                one.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                annotation=one.kind,
                default=one.default if in_form else inspect.Parameter.empty,
            )
            for one in shown
        ]
        names = [one.name for one in (*further, *own)]

        @functools.wraps(function)
        def called(*values: Any) -> Any:
            return function(**dict(zip(names, values, strict=True)))

        called.__signature__ = signature.replace(parameters=[*further, *own])  # type: ignore[attr-defined]
        if in_form:
            described = "".join(f"\n    {one.name}: {' '.join(one.description.split())}" for one in shown)
            called.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}{described}"
        return called

    return decorate
