"""What is counted of a model, and kept: of known models in this package, of others in the user's cache.

Counting imports torch, diffusers and transformers and takes up to half a minute. Each figure is a polynomial of the
adapters' rank, the latents' area and the batch: a few of them, kept, give those of all others.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from operator import mul
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from advantageflow.errors import StoreError
from advantageflow.policy.configs import CONFIG, INDEX
from advantageflow.policy.latent_sizes import LatentSizes
from advantageflow.settings import ModelSettings, RunSettings
from advantageflow.store.files import read_json, write_json
from advantageflow.store.s3 import cache_folder
from advantageflow_pipelines.pipelines.definition import Work, images_of_a_round
from advantageflow_pipelines.plan.weights import RewardCost, reward_cost

SHIPPED = Path(__file__).parent / "counts.json"
_FORM = 4  # of what is kept; another counts anew
# Of a model: its files say what it is, nothing is computed, and figures follow from the rest.
_ELSEWHERE = {"name", "revision", "device", "compile", "image_size", "decode_batch", "embedded_guidance"}
_FLOAT32 = 4
Memory = dict[str, int]
"""Bytes on the GPU by what they hold."""


class Figures(NamedTuple):
    """Of a model with adapters of one rank, at one size of latents and one batch."""

    forward: float  # operations of one velocity, two for each multiply-add of matrix products and convolutions
    training: float  # of one training sample, without recomputation
    decode: float  # of one image, from its latent
    given: float  # bytes of what the model takes
    trained: float  # bytes of activations at the peak of a training step, beside what is given
    recomputed: float  # the same with gradient checkpointing
    sampled: float  # at the peak of a velocity without gradient
    guided: float  # the same with guidance
    decoded: float  # at the peak of decoding the batch


@dataclass(frozen=True)
class ModelCounts:
    """What is counted of a model with adapters on certain layers."""

    sizes: LatentSizes
    text_tokens: int  # of a prompt's conditioning
    conditioning: int  # bytes of a prompt's
    parts: list[str]  # of the model, by their folders
    parameters: dict[str, int]  # by part, and of one adapter of rank 1
    weights: dict[str, int]  # bytes of transformer and autoencoder
    encode: dict[str, float]  # operations of one text, by text encoder
    encoding: Memory  # at the peak of encoding texts
    ranks: list[int]
    heights: list[int]
    batches: list[int]
    figures: list[Figures]  # at each rank, height and batch, the last one varying first

    def at(self, rank: int, height: int, batch: int) -> Figures:
        """The figures anywhere: Lagrange's polynomials through those that are kept."""
        areas = _weights(height**2, [height**2 for height in self.heights])
        axes = _weights(rank, self.ranks), areas, _weights(batch, self.batches)
        weights = [a * b * c for a, b, c in product(*axes)]
        return Figures(*(round(sum(map(mul, weights, one))) for one in zip(*self.figures, strict=True)))


def _weights(x: int, nodes: list[int]) -> list[float]:
    """Of the values at nodes in the value at x of the polynomial through them."""
    weights = []
    for node in nodes:
        weight = 1.0
        for other in nodes:
            weight *= (x - other) / (node - other) if other != node else 1.0
        weights.append(weight)
    return weights


@dataclass(frozen=True)
class Counts:
    """What a plan needs to know of a run's model and rewards."""

    model: ModelCounts
    image_size: int  # height and width, in pixels
    height: int  # of latents
    latent: int  # numbers in one
    parameters: dict[str, int]  # by part, and of one adapter
    one: Figures  # of the model, for one image
    rewards: dict[str, RewardCost]  # what each costs, by name

    def memory(self, settings: RunSettings, work: Mapping[str, Work]) -> dict[str, Memory]:
        """Bytes on one GPU at the peak of each stage, by what they hold."""
        scorers = sum(_FLOAT32 * (one.parameters or 0) for one in self.rewards.values() if one.device == "cuda")
        rollout = settings.rollout
        data = rollout.prompts_per_round * (_FLOAT32 * rollout.group_size * self.latent + self.model.conditioning)
        return {
            stage: {
                **(self.model.encoding if one.encodes else {}),
                **(self.generation(settings, *one.batch) if one.batch else {}),
                **({**self.training(settings), "round's data": data} if one.backwards else {}),
                **({"rewards' weights": scorers} if one.scored and scorers else {}),
            }
            for stage, one in work.items()
        }

    def generation(self, settings: RunSettings, batch: int, guided: bool) -> Memory:
        """Of making images (rollouts, evaluation): velocities of a forward batch, then its decoding."""
        whole = self._at(settings, batch)
        decoded = self._at(settings, min(batch, settings.model.decode_batch or batch)).decoded
        return {
            "base weights": self.model.weights["transformer"],
            "adapters": _FLOAT32 * self.parameters["adapter"],
            "autoencoder": self.model.weights["vae"],
            "activations": round(whole.given + max(whole.guided if guided else whole.sampled, decoded)),
        }

    def training(self, settings: RunSettings) -> Memory:
        """Of the training stage: one microbatch forward and backward, beside all that stays from step to step.

        The stage keeps the base, the trained and the rollout adapter in float32 with the gradient and AdamW's two
        moments of the former; and the round's data, which are not in this.
        """
        at = self._at(settings, min(settings.training.microbatch, images_of_a_round(settings)))
        peak = at.recomputed if settings.training.gradient_checkpointing else at.trained
        one = _FLOAT32 * self.parameters["adapter"]
        # On a base of lower precision all gradients are made float32 at once, at the end: beside them are those that
        # are made so, and the rounded adapters. Of large adapters and few samples that is the peak.
        peak = max(peak, 2 * one if settings.model.dtype != "float32" else 0)
        return {
            "base weights": self.model.weights["transformer"],
            "adapters": 2 * one,
            "gradients": one,
            "optimiser moments": 2 * one,
            "activations": round(at.given + peak),
        }

    def _at(self, settings: RunSettings, batch: int) -> Figures:
        return self.model.at(settings.training.lora.rank, self.height, batch)


def counts_of(settings: RunSettings, model: ModelCounts) -> Counts:
    """What is counted of the model and of rewards, for a run.
    Raises SettingsError: model.image_size is none that the model can make.
    """
    shape, rank = model.sizes.shape(settings.model.image_size), settings.training.lora.rank
    return Counts(
        model,
        image_size=shape[-1] * model.sizes.pixels,
        height=shape[-1],
        latent=math.prod(shape),
        parameters=model.parameters | {"adapter": rank * model.parameters["adapter"]},
        one=model.at(rank, shape[-1], 1),
        rewards={term.name: reward_cost(term) for term in settings.reward.terms},
    )


def counts_key(model: ModelSettings, targets: tuple[str, ...] | None, configs: Path, *exactly: int | None) -> str:
    """Short name of all that counting depends on.

    Args:
        targets: linear layers that get an adapter; None: the family's usual ones.
        configs: folder of the model's configuration files.
        exactly: rank and image size, where figures are of these alone.

    Raises StoreError: one of the files is corrupt.
    """
    told = {
        "form": _FORM,
        "files": {file: read_json(configs / file) for file in _files(configs)},
        "model": model.model_dump(mode="json", exclude=_ELSEWHERE, exclude_defaults=True),
        "targets": targets,
        "exactly": exactly,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def kept_counts(settings: RunSettings, configs: Path, count: Callable[[], ModelCounts]) -> ModelCounts:
    """Counts of this model: shipped, counted before on this machine, or counted now.

    Args:
        configs: folder of the model's configuration files.
    """
    asked = settings.model, settings.training.lora.targets, configs
    key = counts_key(*asked, settings.training.lora.rank, settings.model.image_size)
    kept = cache_folder() / "plan" / f"{key}.json"
    for file, read in ((SHIPPED, lambda found: found[counts_key(*asked)]), (kept, lambda found: found)):
        with contextlib.suppress(OSError, ValueError, LookupError):
            return TypeAdapter(ModelCounts).validate_python(read(json.loads(file.read_text("utf-8"))))
    counts = count()
    with contextlib.suppress(StoreError, OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, asdict(counts))
    return counts


def _files(configs: Path) -> list[str]:
    return [INDEX, *sorted(str(file.relative_to(configs)) for file in configs.glob(f"*/{CONFIG}"))]
