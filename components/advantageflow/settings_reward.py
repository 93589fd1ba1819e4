"""Settings of what images are scored by: one reward, or several, and what is done where one fails."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from advantageflow.settings_base import Settings

_MOST_GRADIENTS = 10  # terms whose gradients are weighed: `flow.simplex` looks at all of their subsets


class RewardTerm(Settings):
    """One of the things that training maximises."""

    name: str = Field("shapes", description="a registered reward (see `advantageflow rewards list`)")
    column: str = Field(
        "soft", description="the reward's column that training maximises; of 'module:function' it is called so too"
    )
    weight: float = Field(1.0, gt=0, description="of this term in the sum")
    minimum: float | None = Field(None, description="worst acceptable value; images beyond it rank below all others")
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="what the reward's class is made with, such as {device: cuda}"
    )

    @model_validator(mode="before")
    @classmethod
    def _column_of_a_function(cls, values: Any) -> Any:
        function = function_in(values.get("name")) if isinstance(values, dict) and "column" not in values else None
        return {**values, "column": function} if function else values


def function_in(name: Any) -> str | None:
    """The function that a reward's name is the path of, by Python's style in names: 'module:score'; else None."""
    function = name.rpartition(":")[2].rpartition(".")[2] if isinstance(name, str) and ":" in name else ""
    return function if function[:1].islower() else None


class RewardSettings(RewardTerm):
    """What rollouts are scored by: one reward, or several at once."""

    others: tuple[RewardTerm, ...] = Field((), strict=False, description="further terms, beside the first")
    combine: Literal["sum", "normalised_sum", "gradient_aligned", "minimum_norm"] = Field(
        "normalised_sum",
        description="add the weighted values, or (GDPO) their group-normalised advantages, whatever their scales; or "
        "these with weights that follow the rewards' gradients: further terms count as far as they agree with the "
        "first (gradient_aligned), or no term is worked against (minimum_norm)",
    )
    timeout: float = Field(
        900.0, gt=0, description="seconds that a reward of one's own may take for a batch of images, loading included"
    )
    memory_gb: float = Field(
        32.0, gt=0, description="memory that its process may take, at most four fifths of what is free as it starts"
    )
    on_error: Literal["fail", "drop"] = Field(
        "fail", description="'drop': an image that a reward cannot score is left out, with an alarm; never a score of 0"
    )
    most_dropped: float = Field(0.05, gt=0, le=0.5, description="share of a task's images that may be left out")
    golden: str | None = Field(
        None, description="file of scores that `advantageflow rewards record` wrote; the run stops if they have changed"
    )
    watched: tuple[RewardTerm, ...] = Field(
        (),
        strict=False,
        description="rewards that evaluations only watch, to tell whether training games the others (no weight); "
        "a minimum is the worst mean over held-out images without an alarm",
    )

    @field_validator("watched")
    @classmethod
    def _watched_without_weight(cls, watched: tuple[RewardTerm, ...]) -> tuple[RewardTerm, ...]:
        for term in watched:
            if term.weight != 1.0:
                raise ValueError(f"'{term.name}' is only watched, so it has no weight: leave {term.weight:g} away")
        return watched

    @model_validator(mode="after")
    def _few_gradients(self) -> RewardSettings:
        count = 1 + len(self.others)
        if self.combine in ("gradient_aligned", "minimum_norm") and count > _MOST_GRADIENTS:
            raise ValueError(f"combine '{self.combine}' weighs at most {_MOST_GRADIENTS} terms, not {count}")
        return self

    @property
    def terms(self) -> tuple[RewardTerm, ...]:
        """All terms, the first one included."""
        first = RewardTerm(**{name: getattr(self, name) for name in RewardTerm.model_fields})
        return (first, *self.others)
