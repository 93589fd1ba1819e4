"""The run form of a pipeline: settings that it shows one by one, the other settings as JSON, seed and initial policy.

A parameter goes to the tasks that read it and to no others, which Kubeflow's cache then knows by what they read. One
that is shown holds instead of the JSON's value; see advantageflow/parameters.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from advantageflow.annotations import BaseComponent
from advantageflow.inputs import with_inputs
from advantageflow.parameters import as_parameter, field_and_value, kind_of, locate
from advantageflow.settings import RunSettings

SECTIONS = {
    "prompt_settings": "prompts",
    "model_settings": "model",
    "rollout_settings": "rollout",
    "reward_settings": "reward",
    "training_settings": "training",
    "evaluation_settings": "evaluation",
    "store_settings": "store",
}
EVERY_STAGE = "*"
_SEED = "equal seeds give equal runs."
_INIT_POLICY = (
    "policy to begin with: where it is published (s3://bucket/prefix) or registered (models:/NAME@alias); empty to "
    "begin at the base model."
)


class Parameter(NamedTuple):
    """A setting that the run form shows."""

    name: str  # in the form
    section: str  # of the run's settings
    setting: str  # in that section, or in one within it
    # whose tasks are given it, as their input of the setting's name; empty where the pipeline uses it itself
    stage: str = ""
    description: str = ""  # the setting's own if empty


class Shown(NamedTuple):
    """A parameter in one run's form."""

    name: str  # in the form
    kind: type  # its type
    default: bool | int | float | str  # the run's value
    description: str  # for the form
    place: str  # of what it holds in the run's settings: a section ('rollout'), or a setting ('rollout.group_size')
    stage: str  # whose tasks are given it; EVERY_STAGE for all that have such an input, empty for none
    input: str  # of those tasks


@dataclass(frozen=True)
class Form:
    """What a run's form shows, in order."""

    shown: tuple[Shown, ...]

    def inputs(self, stage: str, component: BaseComponent, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the tasks of a stage, which run `component`, are given of the form's values, by their inputs' names."""
        return {one.input: given[one.name] for one in self._taken(stage, component)}

    def part(self, **components: BaseComponent) -> Form:
        """What the tasks of these stages take, each with its component."""
        names = {one.name for stage, component in components.items() for one in self._taken(stage, component)}
        return Form(tuple(one for one in self.shown if one.name in names))

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `given` that the form shows."""
        return {one.name: given[one.name] for one in self.shown}

    def _taken(self, stage: str, component: BaseComponent) -> list[Shown]:
        inputs = component.component_spec.inputs or {}
        return [one for one in self.shown if one.stage in (EVERY_STAGE, stage) and one.input in inputs]


def run_form(settings: RunSettings, table: Sequence[Parameter], sections: Collection[str]) -> Form:
    """The form of a run of a pipeline that reads these sections of the settings.

    What the table names is shown one by one, where the run has it: an objective without `lam` leaves that out.
    """
    settings = settings.model_copy(update={"training": settings.training.of_a_run(settings.rounds)})
    found = []
    for one in table:
        section = getattr(settings, one.section)
        path = locate(section, one.setting)
        if path is not None:
            field, value = field_and_value(section, path)
            text = one.description or field.description or ""
            place = ".".join((one.section, *path))
            described = f"{place}: {text}" if text else place
            value = as_parameter(field, value)
            found.append(Shown(one.name, kind_of(field), value, described, place, one.stage, one.setting))
    for name, of in SECTIONS.items():
        if of in sections:
            told = f"other settings of {of}, as JSON."
            # What differs from the defaults: every node of a run on a cluster holds it several times.
            values = getattr(settings, of).model_dump_json(exclude_defaults=True)
            found.append(Shown(name, str, values, told, of, EVERY_STAGE, name))
    found.append(Shown("seed", int, settings.seed, _SEED, "seed", EVERY_STAGE, "seed"))
    policy = settings.init_policy or ""
    found.append(Shown("init_policy", str, policy, _INIT_POLICY, "init_policy", EVERY_STAGE, "init_policy"))
    return Form(tuple(found))


def with_handed(form: Form, *names: str) -> Form:
    """The form, and what the task that starts the pipeline run gives it beside."""
    handed = (Shown(name, str, "", "given by the segment before", "", "", "") for name in names)
    return Form((*form.shown, *handed))


def taking(form: Form, *, outermost: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a pipeline's function, which takes the form's values as `**given`, the signature that Kubeflow reads: the
    form's parameters before its own, of the outermost pipeline with the run's values as defaults, and descriptions.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        kinds = {one.name: one.kind for one in form.shown}
        defaults = {one.name: one.default for one in form.shown if outermost}
        called = with_inputs(function, kinds, defaults)
        if outermost:
            described = "".join(f"\n    {one.name}: {' '.join(one.description.split())}" for one in form.shown)
            called.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nArgs:{described}"
        return called

    return decorate
