"""What is wrong with settings, in words: where, what is allowed there, and which name was probably meant."""

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from advantageflow.errors import SettingsError
from advantageflow.shown import brief
from advantageflow.suggestions import did_you_mean

_WHY = {
    "rollout.group_size": "an advantage compares the rollouts of one prompt, so a group of 1 teaches nothing; "
    "8 to 24 is usual",
    "reward.others": "for example [{name: jpeg, column: compressibility, weight: 0.5}]",
}
_MOVED = {
    ("TrainingSettings", key): now
    for key, now in {
        "algorithm": "training.objective; instead of advantage_weighted: advantage_flow with training.objective.lam 0",
        "passes": "training.inner_epochs",
        "data_weight": "training.objective.data_share, a share of lam in [0, 1]",
        "diffusion_nft": "training.objective, with name diffusion_nft",
        "awm": "training.objective, with name awm",
        "flow_grpo": "training.objective, with name flow_grpo",
    }.items()
}  # what to write, by the section's class and the old key; options that moved within are found there by their name
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
_LIMITS = {  # by the names that annotated_types has for them
    "ge": "at least {}",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "at least {} of them",
    "max_length": "at most {:,} characters",
}
_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True)
class Problem:
    """One setting that is wrong: where, what, and what to do."""

    where: str
    message: str
    remedy: str

    @classmethod
    def at(cls, path: str, message: str, remedy: str, places: Mapping[str, str]) -> Self:
        """A problem at a dotted path; `places` says by path which line or option it came from."""
        known = path
        while known and known not in places:
            known = known.rpartition(".")[0]
        return cls(f"{path} ({places[known]})" if known else path, message, remedy)


class SectionError(ValueError):
    """Raised by a validator that reads a whole section: what is wrong in it, each `where` a dotted path within it or
    ''.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.where}: {p.message}" for p in problems))
        self.problems = problems


def problems_of(error: ValidationError, model: type[BaseModel], places: Mapping[str, str]) -> list[Problem]:
    """What a pydantic error says, in a problem for each setting; `places` has by dotted path where that stands."""
    problems: dict[str, Problem] = {}  # by place, as pydantic has a line for each member of a union
    for line in error.errors():
        for problem in _problems(line, model, places):
            problems.setdefault(problem.where, problem)
    return list(problems.values())


def to_error(problems: Sequence[Problem]) -> SettingsError:
    """One error that names them all."""
    if len(problems) == 1:
        return SettingsError(problems[0].message, where=problems[0].where, remedy=problems[0].remedy)
    lines = "".join(f"\n  - {p.where}: {p.message}; {p.remedy}" for p in problems)
    return SettingsError(f"{len(problems)} settings are wrong:{lines}", remedy="mend each of them; nothing was started")


def accepts_text(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether the setting at this path exists and may be a text; not of what stands in a free mapping."""
    field, _ = _field(model, path)
    if field is None or get_origin(field.annotation) is dict:
        return False
    return str in (field.annotation, *get_args(field.annotation))


def _problems(line: Any, model: type[BaseModel], places: Mapping[str, str]) -> list[Problem]:
    section = line.get("ctx", {}).get("error")
    if not isinstance(section, SectionError):
        return [_problem(line, model, places)]
    above = [str(part) for part in line["loc"]]
    return [
        Problem.at(".".join([*above, *filter(None, [p.where])]), p.message, p.remedy, places) for p in section.problems
    ]


def _problem(line: Any, model: type[BaseModel], places: Mapping[str, str]) -> Problem:
    path = [str(part) for part in line["loc"]]
    if line["type"] == "extra_forbidden":
        return _unknown(path, model, places)
    field, depth = _field(model, path)
    if field is not None and get_origin(field.annotation) in _UNIONS:
        path = path[:depth]  # without the member's name
    dotted = ".".join(path)
    if line["type"] == "value_error":  # raised by a validator of ours, whose text already says all
        remedy = "change one of them" if field is None or _is_section(field.annotation) else "change it"
        return Problem.at(dotted, str(line["ctx"]["error"]), remedy, places)
    if field is None:
        return Problem.at(dotted, f"{brief(line['input'])} is not allowed ({line['msg']})", "mend it", places)
    meaning = f" ({field.description})" if field.description else ""
    setting = dotted.rstrip(".0123456789")  # of an item, its list
    why = f"; {_WHY[setting]}" if setting in _WHY else ""
    remedy = f"give {allowed(field.annotation, field.metadata)}{meaning}{why}"
    return Problem.at(dotted, f"{brief(line['input'])} is not allowed", remedy, places)


def _unknown(path: list[str], model: type[BaseModel], places: Mapping[str, str]) -> Problem:
    """A key that no section has."""
    *above, key = path
    dotted, section = ".".join(path), _section(model, above)
    if section is None:
        return Problem.at(dotted, "there is no such setting", "remove it", places)
    if (section.__name__, key) in _MOVED:
        return Problem.at(dotted, "this setting has moved", f"write {_MOVED[section.__name__, key]}", places)
    for name, field in section.model_fields.items():
        if key in getattr(type(field.get_default(call_default_factory=True)), "model_fields", {}):
            remedy = f"did you mean '{'.'.join([*above, name, key])}'?"
            return Problem.at(dotted, "there is no such setting", remedy, places)
    remedy = f"known here: {', '.join(section.model_fields)}"
    near = did_you_mean(key, section.model_fields)
    if near:
        remedy = f"did you mean '{'.'.join([*above, near])}'?"
    else:
        everywhere = {name.rpartition(".")[2]: name for name in _all_paths(model)}
        near = did_you_mean(key, everywhere)
        remedy = f"did you mean '{everywhere[near]}'? {remedy}" if near else remedy
    return Problem.at(dotted, "there is no such setting", remedy, places)


def allowed(annotation: Any, bounds: Iterable[Any]) -> str:
    """What a setting may be in words: its type and its range."""
    return ", ".join(filter(None, [_kind(annotation), *map(_limit, bounds)]))


def _kind(annotation: Any) -> str:
    """A type in words."""
    if _is_section(annotation):
        return f"a section with {', '.join(annotation.model_fields)}"
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return allowed(args[0], args[1:])
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in _UNIONS:
        # A list last, so that what follows is not read as one of its items.
        return " or ".join(_kind(arg) for arg in sorted(args, key=lambda arg: get_origin(arg) is tuple))
    if origin is dict:
        return "a section of names and values"
    if origin is tuple and args[-1] is Ellipsis:
        return f"a list, each item {_kind(args[0])}"
    if origin is tuple:
        return f"a list of {len(args)}, each item {_kind(args[0])}"
    return str(annotation)


def _limit(bound: Any) -> str:
    """A bound of a range in words; empty for what is not a bound."""
    given = {name: getattr(bound, name, None) for name in _LIMITS}
    return next((_LIMITS[name].format(value) for name, value in given.items() if value is not None), "")


def _field(model: type[BaseModel], path: Sequence[str]) -> tuple[FieldInfo | None, int]:
    """The field at a path, or the one that holds it (a path may go on into a list's items), and how deep it lies."""
    for depth in range(len(path), 0, -1):
        section = _section(model, path[: depth - 1])
        if section is not None:
            return section.model_fields.get(path[depth - 1]), depth
    return None, 0


def _section(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The section at a path; it may lead through an item of a list of sections, or of a mapping to sections."""
    items: Any = None  # what the list or mapping that was reached holds
    section: type[BaseModel] | None = model
    for part in path:
        if section is None:
            if not _is_section(items):
                return None
            section = items
            continue
        field = section.model_fields.get(part)
        annotation = field.annotation if field is not None else None
        origin, args = get_origin(annotation), get_args(annotation)
        if origin in _UNIONS:
            annotation = next(filter(_is_section, args), None)  # one that may be left away
        items = args[0] if origin is tuple else args[1] if origin is dict else None
        section = annotation if _is_section(annotation) else None
    return section


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _all_paths(model: type[BaseModel], prefix: str = "") -> list[str]:
    paths = []
    for name, field in model.model_fields.items():
        paths.append(prefix + name)
        if _is_section(field.annotation):
            paths += _all_paths(field.annotation, f"{prefix}{name}.")
    return paths
