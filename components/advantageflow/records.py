"""The things that flow between stages, with their file formats (Parquet, safetensors, JSON, PNG)."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

PROMPTS_FILE = "prompts.parquet"
KNOWN_PROMPTS_FILE = "known_prompts.json"  # ids of all training prompts of the sources of a policy and those before it
REGISTERED_FILE = "registered.json"  # address of the version that a policy was fetched from
CONDITIONING_FILE = "conditioning.safetensors"  # tensors of the family's, rows as in prompts.parquet and one more
ROLLOUTS_FILE = "rollouts.parquet"  # of the rollouts artifact: a row for each, with its image
INDEX_FILE = "index.parquet"  # of the latents artifact: the same rows without images
LATENTS_FILE = "latents.safetensors"  # latents (N, *shape), rows as in index.parquet
TRAJECTORIES_FILE = "trajectories.safetensors"  # states (N, S + 1, *shape), log_probabilities (N, S), sigmas (S + 1)
SCORES_FILE = "scores.parquet"
STATE_FILE = "state.json"
METRICS_FILE = "metrics.json"
ADAPTER_FOLDER = "policy"
ROLLOUT_ADAPTER_FOLDER = "rollout_policy"
HISTORY_FILE = "prompt_outcomes.json"


@dataclass(frozen=True)
class Prompt:
    """A text to generate from, with what the reward needs to judge the image."""

    text: str  # the prompt
    split: Literal["train", "eval"]  # 'train' prompts are rolled out, 'eval' prompts are held out
    task: str  # the group it is reported under, for example 'counting'
    # what the reward reads; for GenEval-like rewards its metadata (tag, include, exclude)
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt_id(self) -> str:
        """First 16 hex digits of SHA-256 over text and spec: stable across runs and machines."""
        key = json.dumps([self.text, self.spec], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(key.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Rollout:
    """One image that the rollout policy generated."""

    prompt_id: str
    round: int
    index: int  # index within its group, 0 .. group_size - 1.
    seed: int  # seed of its initial noise, derived from the run's seed, round, prompt and index

    @property
    def rollout_id(self) -> str:
        """`<round>-<prompt_id>-<index>`."""
        return f"{self.round}-{self.prompt_id}-{self.index}"


@dataclass(frozen=True)
class Score:
    """What a reward says of one rollout."""

    rollout_id: str
    rewards: dict[str, float]  # value by column, each within the reward's declared range
    details: dict[str, Any]  # how it came about, for a person (JSON)
    version: str  # the scorer's version, weights hash included


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) from the parts: equal parts, equal seed, on any machine."""
    digest = hashlib.sha256(json.dumps(list(parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
