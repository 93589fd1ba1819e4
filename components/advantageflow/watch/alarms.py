"""Alarms of reward hacking: which means left the base policy's own by more than the settings allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from advantageflow.settings import AlarmSettings


@dataclass(frozen=True)
class Alarm:
    """One mean that is out of bounds."""

    name: str  # the statistic and where it went, such as 'sharpness_drop', or 'watched/<reward>.<column>'
    value: float  # what it is now
    base: float  # what it is of the base policy, on the same prompts and noise
    change: float  # how far it moved, at least 0, in the unit of the bound
    bound: float  # how far it may
    message: str  # all that in words


@dataclass(frozen=True)
class Watched:
    """The mean of a watched reward over held-out images."""

    mean: float  # of the images now
    base_mean: float  # of the base policy's images on the same prompts and noise
    base_std: float  # standard deviation over those
    higher_is_better: bool  # direction of the reward
    minimum: float | None = None  # worst acceptable mean, if there is one


_FRACTIONS = ("dark_fraction", "saturated_fraction")
_BOUNDED = [bound for bound in AlarmSettings.model_fields if bound != "watched_drop"]  # such as 'sharpness_drop'


def find_alarms(
    bounds: AlarmSettings, means: Mapping[str, float], base: Mapping[str, float], watched: Mapping[str, Watched]
) -> list[Alarm]:
    """What is out of bounds.

    Args:
        means: means over held-out images by statistic; one that could not be measured is absent.
        base: the same of the base policy's images on the same prompts and noise.
        watched: watched rewards by '<reward>.<column>'.
    """
    found = []
    for alarm in _BOUNDED:
        name, _, direction = alarm.rpartition("_")
        if name in means:
            found.append(_statistic(name, direction, means[name], base[name], getattr(bounds, alarm)))
    found += [_watched(name, one, bounds.watched_drop) for name, one in watched.items()]
    return [alarm for alarm in found if alarm is not None]


def _statistic(name: str, direction: str, value: float, base: float, bound: float | None) -> Alarm | None:
    difference = value - base if direction == "rise" else base - value
    change = difference if name in _FRACTIONS else _part(difference, base)
    if bound is None or not change > bound:
        return None
    moved = "rose" if direction == "rise" else "fell"
    how_far = f"{change:.2f}, allowed are {bound:g}" if name in _FRACTIONS else f"{change:.0%}, allowed are {bound:.0%}"
    message = f"{name.replace('_', ' ')} {moved} from the base's {base:.3g} to {value:.3g} ({how_far})"
    return Alarm(f"{name}_{direction}", value, base, change, bound, message)


def _part(difference: float, base: float) -> float:
    """The difference as a part of the base's value; any rise from 0 is beyond all bounds."""
    if base == 0:
        return math.inf if difference > 0 else 0.0
    return difference / base


def _watched(name: str, one: Watched, bound: float | None) -> Alarm | None:
    worse = one.base_mean - one.mean if one.higher_is_better else one.mean - one.base_mean
    change = _part(worse, one.base_std)
    moved = f"watched {name} went from the base's {one.base_mean:.3g} to {one.mean:.3g}"
    if bound is not None and change > bound:
        how_far = f"{change:.2f} standard deviations worse, allowed are {bound:g}"
        return Alarm(f"watched/{name}", one.mean, one.base_mean, change, bound, f"{moved} ({how_far})")
    if one.minimum is not None:
        beyond = one.minimum - one.mean if one.higher_is_better else one.mean - one.minimum
        if beyond > 0:
            message = f"{moved}, beyond its minimum {one.minimum:g}"
            return Alarm(f"watched/{name}", one.mean, one.base_mean, beyond, 0.0, message)
    return None
