"""What a reward says of itself, held to the protocol before anything is loaded or scored."""

from __future__ import annotations

from inspect import getattr_static
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from advantageflow.errors import RewardError
from advantageflow.rewards.base import Reward


def check_declaration(reward: Reward) -> None:
    """Hold what a reward says of itself to the protocol, types included; its weights are not loaded for its version.

    Raises:
        RewardError: its name, version, columns or direction are not as they should be.
    """
    version = getattr_static(reward, "version")
    told = {part: getattr(reward, part) for part in ("name", "columns", "higher_is_better")}
    told |= {} if hasattr(version, "__get__") else {"version": version}
    try:
        _Declaration.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))} is {first['input']!r}: {first['msg']}"
        remedy = "see advantageflow.rewards.base.Reward for what a reward declares"
        raise RewardError(message, where=f"reward {type(reward).__name__}", remedy=remedy) from error


def _rising(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError("not (lowest, highest)")
    return limits


_Text = Annotated[str, Field(strict=True, min_length=1)]


class _Declaration(BaseModel):
    name: _Text
    version: _Text = "known once it is loaded"
    higher_is_better: bool = Field(strict=True)
    columns: dict[str, Annotated[tuple[float, float], AfterValidator(_rising)]] = Field(min_length=1)
