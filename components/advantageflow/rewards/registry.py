"""Rewards by name: the built-in ones, and plug-ins found through the entry point group 'advantageflow.rewards'."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from advantageflow.errors import RewardError, SettingsError
from advantageflow.rewards.base import Reward
from advantageflow.suggestions import suggest

GROUP = "advantageflow.rewards"
BUILT_IN = {
    "geneval": "advantageflow.rewards.geneval.reward:GenEvalReward",
    "jpeg": "advantageflow.rewards.jpeg:JpegReward",
    "layout": "advantageflow.rewards.layout:LayoutReward",
    "shapes": "advantageflow.rewards.shapes:ShapesReward",
}


@dataclass(frozen=True)
class RewardInfo:
    """What a person wants to know of a registered reward.

    Attributes:
        name: what settings call it.
        origin: 'built in', or the plug-in that brings it.
        summary: first line of its documentation.
        version: its version; empty if it cannot be loaded.
        columns: lowest and highest value by column.
        higher_is_better: whether training raises the columns.
        error: why it cannot be loaded; empty if it can.
    """

    name: str
    origin: str
    summary: str
    version: str
    columns: dict[str, tuple[float, float]]
    higher_is_better: bool
    error: str


def get_reward(name: str, *, where: str = "reward.name") -> Reward:
    """Make the reward of this name; only its own module is imported.

    Args:
        name: what settings call it.
        where: which setting names it, for errors.

    Raises:
        SettingsError: no such reward; says which name is nearest.
        RewardError: its module cannot be imported, or what it brings is no reward.
    """
    sources = _sources()
    if name not in sources:
        remedy = suggest(name, sources, what="registered rewards") + "; see `advantageflow rewards list`"
        raise SettingsError(f"unknown reward '{name}'", where=where, remedy=remedy)
    origin, target = sources[name]
    source = f"reward '{name}' ({origin})"
    try:
        reward = _load(target)()
    except Exception as error:
        remedy = "install what it needs, or choose another reward"
        message = f"cannot be loaded: {type(error).__name__}: {error}"
        raise RewardError(message, where=source, remedy=remedy) from error
    missing = [part for part in _PARTS if not _has(reward, part)]
    if missing:
        remedy = "a plug-in names a class (or function) that takes no arguments and makes an advantageflow Reward"
        raise RewardError(f"is no reward: it lacks {', '.join(missing)}", where=source, remedy=remedy)
    return reward


def list_rewards() -> list[RewardInfo]:
    """Every registered reward, sorted by name; one that cannot be loaded says why."""
    return [_info(name, origin) for name, (origin, _) in sorted(_sources().items())]


_PARTS = ("name", "version", "columns", "higher_is_better", "check", "score")


def _has(reward: object, part: str) -> bool:
    """Whether a reward has a part; a property is not read, since a version may have to load weights."""
    return hasattr(type(reward), part) or hasattr(reward, part)


def _sources() -> dict[str, tuple[str, EntryPoint | str]]:
    """Origin and target by name.

    Raises:
        SettingsError: two sources claim one name.
    """
    sources: dict[str, tuple[str, EntryPoint | str]] = {name: ("built in", path) for name, path in BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        origin = f"plug-in {point.dist.name if point.dist else ''} {point.value}".replace("  ", " ")
        if point.name in sources and sources[point.name] != (origin, point):
            remedy = "rename the plug-in's entry point, or uninstall one of the two"
            message = f"two rewards are called '{point.name}': {sources[point.name][0]} and {origin}"
            raise SettingsError(message, where=f"entry points '{GROUP}'", remedy=remedy)
        sources[point.name] = (origin, point)
    return sources


def _load(target: EntryPoint | str) -> type[Reward]:
    if not isinstance(target, str):  # no test for EntryPoint: the importlib_metadata backport has a class of its own
        return target.load()
    module, attribute = target.split(":")
    return getattr(import_module(module), attribute)


def _info(name: str, origin: str) -> RewardInfo:
    try:
        reward = get_reward(name)
    except RewardError as error:
        return RewardInfo(name, origin, "", "", {}, True, error.message)
    summary = (type(reward).__doc__ or "").strip().partition("\n")[0]
    version = "by its weights" if getattr(reward, "loads_weights", False) else reward.version  # loads none to be listed
    return RewardInfo(name, origin, summary, version, dict(reward.columns), reward.higher_is_better, error="")
