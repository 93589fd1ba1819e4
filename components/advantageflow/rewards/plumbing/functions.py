"""A plain function `score(prompts, images)` as a reward."""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from advantageflow.errors import SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.plumbing.options import check_options

if TYPE_CHECKING:
    import numpy as np

_FIRST = ["prompts", "images"]
_FORM = "write it as score(prompts, images): lists of equal length; further parameters are options"


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
