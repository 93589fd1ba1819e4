"""Rewards by name: built in, plug-ins of entry point group 'advantageflow.rewards', classes and functions by path.

Their options are held to the signature of the class or function.
"""

import hashlib
import inspect
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import getattr_static
from typing import Any

import numpy as np
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from advantageflow.errors import RewardError, SettingsError, UserError
from advantageflow.plugins.registry import Registry, Source
from advantageflow.records import Prompt
from advantageflow.rewards.base import Reward, planned_version
from advantageflow.rewards.plumbing.guard import GuardedReward
from advantageflow.suggestions import suggest

_FIRST = ["prompts", "images"]
_FORM = "write it as score(prompts, images): lists of equal length; further parameters are options"
BUILT_IN = {
    "aesthetic": "advantageflow.rewards.aesthetic:AestheticReward",
    "clipscore": "advantageflow.rewards.clipscore:ClipScoreReward",
    "geneval": "advantageflow.rewards.geneval.reward:GenEvalReward",
    "hpsv2": "advantageflow.rewards.hpsv2:HpsReward",
    "imagereward": "advantageflow.rewards.imagereward:ImageRewardReward",
    "jpeg": "advantageflow.rewards.jpeg:JpegReward",
    "layout": "advantageflow.rewards.layout:LayoutReward",
    "ocr": "advantageflow.rewards.ocr:OcrReward",
    "pickscore": "advantageflow.rewards.pickscore:PickScoreReward",
    "shapes": "advantageflow.rewards.shapes:ShapesReward",
    "vlm": "advantageflow.rewards.vlm:VlmReward",
}
REWARDS = Registry(
    "reward",
    "advantageflow.rewards",
    BUILT_IN,
    "; see `advantageflow rewards list`; or package.module:name of your own",
)


@dataclass(frozen=True)
class RewardInfo:
    """What a person wants to know of a registered reward."""

    name: str
    origin: str  # 'built in', or the plug-in that brings it
    summary: str  # first line of its documentation
    version: str  # of a learned reward without the hash of its weights; empty if it cannot be made
    columns: dict[str, tuple[float, float]]
    higher_is_better: bool
    error: str  # why it cannot be made without options, or not at all; empty if it can


def get_reward(name: str, options: Mapping[str, Any] | None = None, *, term: str = "reward") -> Reward:
    """Make the reward of this name; only its own module is imported.

    Args:
        name: what settings call it: a registered name, or the path of a class or of a function of prompts and images,
            'package.module:name'.
        options: keyword arguments of its class or function; JSON-able values.
        term: which term of the settings names it, for errors.

    Raises:
        SettingsError: no such reward, or no such option, or a value that does not fit one; says which is nearest.
        RewardError: its module cannot be imported, or what it brings is not a reward.
    """
    found = REWARDS.source(name, f"{term}.name")
    source = f"reward '{name}' ({found.origin})"
    try:
        make = found.load(f"{term}.name")
        reward = as_reward(make, name, options or {}, term) or make(
            **check_options(make, options or {}, reward=name, where=f"{term}.options")
        )
    except UserError:
        raise
    except Exception as error:
        remedy = "mend it, install what it needs, or choose another reward"
        message = f"cannot be loaded: {type(error).__name__}: {error}"
        raise RewardError(message, where=source, remedy=remedy) from error
    # Looked up statically: hasattr() would read the version, and a learned reward would load its weights for it.
    missing = [part for part in _PARTS if getattr_static(reward, part, None) is None]
    if missing:
        remedy = "name a function score(prompts, images), or a class of an advantageflow Reward"
        raise RewardError(f"is not a reward: it lacks {', '.join(missing)}", where=source, remedy=remedy)
    return reward


def get_guarded(
    name: str, options: Mapping[str, Any], *, timeout: float, memory_gb: float, term: str = "reward"
) -> Reward:
    """As get_reward; a reward that is not built in lives in a process of its own, held to limits (GuardedReward)."""
    if REWARDS.source(name, f"{term}.name").origin == "built in":
        return get_reward(name, options, term=term)
    return GuardedReward(name, options, term=term, timeout=timeout, memory_gb=memory_gb)


def list_rewards() -> list[RewardInfo]:
    """Every registered reward, sorted by name; one that cannot be loaded says why."""
    return [_info(name, source) for name, source in sorted(REWARDS.sources().items())]


_PARTS = ("name", "version", "columns", "higher_is_better", "check", "score")


def _info(name: str, source: Source) -> RewardInfo:
    made: Any = None
    version = error = ""
    try:
        made = get_reward(name)
        version = planned_version(made)
    except SettingsError as refusal:  # it needs options: its class still says what it is for
        made, error = source.load(""), refusal.message
    except Exception as failure:  # a plug-in's, which is not to hide the others
        error = failure.message if isinstance(failure, RewardError) else f"{type(failure).__name__}: {failure}"
    documentation = (made if isinstance(made, type) else type(made)).__doc__ if made is not None else ""
    summary = (documentation or "").strip().partition("\n")[0]
    columns, rises = getattr(made, "columns", {}), getattr(made, "higher_is_better", True)
    return RewardInfo(name, source.origin, summary, version, dict(columns), rises, error)


class FunctionReward:
    """Scores images by a function of prompts and images; its keyword arguments are the options.

    The function gives a number an image (a list, an array or a tensor), or a dict an image. What it does not say of
    itself by attributes is taken from it: `columns` (lowest and highest value by name; else one column of any number,
    called as the function), `higher_is_better` (else True), `version` (else a hash of the file it stands in), `check`
    (a function of a prompt; else any will do).
    """

    def __init__(self, function: Callable[..., Any], name: str, options: Mapping[str, Any]) -> None:
        column = name.rpartition(":")[2].rpartition(".")[2]
        self.name = name
        self.columns: Mapping[str, tuple[float, float]] = getattr(function, "columns", {column: (-math.inf, math.inf)})
        self.higher_is_better: bool = getattr(function, "higher_is_better", True)
        self.version: str = getattr(function, "version", None) or _hash(function)
        self.reads_any = not hasattr(function, "check")
        self.check: Callable[[Prompt], None] = getattr(function, "check", lambda prompt: None)
        self._function = partial(function, **options)
        self.__doc__ = function.__doc__

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> Any:
        """What the function gives for them."""
        return self._function(prompts, images)


def as_reward(made_by: Any, name: str, options: Mapping[str, Any], term: str) -> FunctionReward | None:
    """The reward of a function of prompts and images; None of what makes a reward.
    Raises SettingsError: its parameters are in another order; an option is unknown or does not fit.
    """
    if inspect.isclass(made_by):
        return None
    try:
        names = list(inspect.signature(made_by).parameters)
    except (TypeError, ValueError):  # of another language
        return None
    if names[:2] == _FIRST:
        fitted = check_options(partial(made_by, (), ()), options, reward=name, where=f"{term}.options")
        return FunctionReward(made_by, name, fitted)
    if {"prompts", "images"} & set(names):
        raise SettingsError(f"'{name}' is a function of ({', '.join(names)})", where=f"{term}.name", remedy=_FORM)
    return None


def _hash(function: Callable[..., Any]) -> str:
    function = inspect.unwrap(function.func if isinstance(function, partial) else function)
    try:
        source = inspect.getsource(sys.modules[function.__module__])
    except (OSError, TypeError, LookupError):  # typed into an interpreter
        source = repr(getattr(getattr(function, "__code__", None), "co_code", function))
    return f"source {hashlib.sha256(source.encode('utf-8', 'replace')).hexdigest()[:12]}"


def check_options(make: Callable[..., Any], options: Mapping[str, Any], *, reward: str, where: str) -> dict[str, Any]:
    """Hold options to the parameters that may be given by keyword of the class (or function) that makes a reward.

    Gives the options as the parameters' annotations want them: a list becomes a tuple, a text a Path. Errors name the
    reward and `where` the options stand. Raises SettingsError: an option is unknown, missing, or has a value that does
    not fit; names it and what fits.
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
