"""How prompts fared in earlier rounds: `prompt_outcomes.json` of the policy artifact, for adaptive selection."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from advantageflow.errors import DataError
from advantageflow.records import HISTORY_FILE
from advantageflow.store.files import read_json, write_json


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class GroupOutcome(_Record):
    """How one group of a prompt scored."""

    round: int = Field(ge=1)  # the round that it was trained in, counted over chained runs: see `PromptHistory.rounds`
    mean: float  # mean of the group's rewards
    std: float = Field(ge=0)  # their (population) standard deviation
    gain: float  # what training on such a group is expected to gain; see `advantageflow.training.metrics`


class PromptHistory(_Record):
    """The outcomes of every prompt that was trained on on the way to a policy."""

    rounds: int = Field(0, ge=0)  # rounds since the base model, those of earlier runs included that this run continues
    # outcomes by prompt_id, oldest first
    prompts: dict[str, Annotated[tuple[GroupOutcome, ...], Field(strict=False)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _rounds_in_order(self) -> Self:
        for prompt_id, history in self.prompts.items():
            rounds = [outcome.round for outcome in history]
            if rounds != sorted(set(rounds)) or (rounds and rounds[-1] > self.rounds):
                raise ValueError(f"prompts.{prompt_id}: rounds {rounds} do not rise from 1 to at most {self.rounds}")
        return self


def read_history(policy: Path) -> PromptHistory:
    """The outcomes in a policy folder; none where it has no such file, as a base model or an older policy.

    Raises:
        StoreError: the file cannot be read or is not JSON.
        DataError: it does not hold outcomes; names the field.
    """
    path = Path(policy) / HISTORY_FILE
    if not path.exists():
        return PromptHistory()
    try:
        return PromptHistory.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        remedy = f"restore the file as training wrote it, or delete it: {HISTORY_FILE} then starts anew"
        raise DataError(first["msg"], where=f"{path}: {field}" if field else str(path), remedy=remedy) from error


def write_history(folder: Path, outcomes: PromptHistory) -> None:
    """Write the outcomes into a policy folder that is being published, in the order of prompt ids."""
    values = outcomes.model_dump(mode="json")
    write_json(Path(folder) / HISTORY_FILE, {**values, "prompts": dict(sorted(values["prompts"].items()))})
