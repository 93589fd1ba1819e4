"""Rewards by name: built in, plug-ins of the entry point group 'advantageflow.rewards', and classes by their path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

from advantageflow.errors import RewardError, SettingsError, UserError
from advantageflow.plugins.registry import Registry, Source
from advantageflow.rewards.base import Reward, planned_version
from advantageflow.rewards.plumbing.functions import as_reward
from advantageflow.rewards.plumbing.guard import GuardedReward
from advantageflow.rewards.plumbing.options import check_options

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
