"""What is counted of a model and of rewards, and kept: of the presets in this package, of others in the user's cache.

Counting imports torch, diffusers and transformers and takes up to half a minute; what it gives follows from little.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from advantageflow.errors import StoreError
from advantageflow.policy.configs import CONFIG, INDEX
from advantageflow.settings import RunSettings
from advantageflow.store.files import write_json
from advantageflow.store.s3 import cache_folder
from advantageflow_pipelines.pipelines.work import Work, images_of_a_round
from advantageflow_pipelines.plan.rewards import RewardCost

SHIPPED = Path(__file__).parent / "counts.json"
_FORM = 3  # of what is kept; another counts anew
_ELSEWHERE = {"name", "revision", "device", "compile"}  # of a model: its files say what it is, and nothing is computed
_TRAINING = {"lora", "microbatch", "gradient_checkpointing"}
_FLOAT32 = 4
Memory = dict[str, int]
"""Bytes on the GPU by what they hold."""


@dataclass(frozen=True)
class Flops:
    """Operations of matrix products, two for each multiply-add."""

    forward: float  # of one velocity
    # of one training sample: v_theta forward and backward, and nothing else. Old and reference forwards and recomputed
    # activations are not useful work: a loop that does them has a lower share of the peak.
    training: float


@dataclass(frozen=True)
class Operations:
    """Floating point operations of matrix products and convolutions, two for each multiply-add."""

    velocity: Flops  # of one velocity, and of a training sample without recomputation
    decode: float  # of one image, from its latent
    encode: Mapping[str, float]  # of one text, by text encoder


@dataclass(frozen=True)
class Counts:
    """What a plan needs to know of a model and its rewards."""

    image_size: int  # height and width, in pixels
    latent: int  # numbers in a latent
    text_tokens: int  # of a prompt's conditioning
    conditioning: int  # bytes of a prompt's
    parts: list[str]  # of the model, by their folders
    parameters: dict[str, int]  # by part, and of one adapter
    operations: Operations  # of the model
    encoding: Memory  # at the peak of encoding texts
    generation: dict[str, Memory]  # at the peak of generating, by `batch_name`
    training: Memory  # at the peak of training, but for the round's data
    rewards: dict[str, RewardCost]  # what each costs, by name

    def memory(self, settings: RunSettings, work: Mapping[str, Work]) -> dict[str, Memory]:
        """Bytes on one GPU at the peak of each stage, by what they hold."""
        scorers = sum(_FLOAT32 * (one.parameters or 0) for one in self.rewards.values() if one.device == "cuda")
        rollout = settings.rollout
        data = rollout.prompts_per_round * (_FLOAT32 * rollout.group_size * self.latent + self.conditioning)
        return {
            stage: {
                **(self.encoding if one.encodes else {}),
                **(self.generation[batch_name(one.batch)] if one.batch else {}),
                **({**self.training, "round's data": data} if one.backwards else {}),
                **({"rewards' weights": scorers} if one.scored and scorers else {}),
            }
            for stage, one in work.items()
        }


def batches(work: Mapping[str, Work]) -> dict[str, tuple[int, bool]]:
    """Batches that stages generate in, and whether they are guided, by name."""
    return {batch_name(one.batch): one.batch for one in work.values() if one.batch}


def batch_name(batch: tuple[int, bool]) -> str:
    """What a batch is called among counts."""
    return f"{batch[0]} guided" if batch[1] else str(batch[0])


def counted_alone(settings: RunSettings) -> RunSettings:
    """The settings with nothing in training but what is counted with: the rest cannot matter, and is in no key."""
    told = {name: getattr(settings.training, name) for name in _TRAINING}
    told["microbatch"] = min(settings.training.microbatch, images_of_a_round(settings))
    return settings.model_copy(update={"training": type(settings.training)(**told)})


def counts_key(settings: RunSettings, work: Mapping[str, Work], configs: Path) -> str:
    """Short name of all that counting depends on.

    Args:
        configs: folder of the model's configuration files.
    """
    told = {
        "form": _FORM,
        "files": {file: json.loads((configs / file).read_text("utf-8")) for file in _files(configs)},
        "model": settings.model.model_dump(mode="json", exclude=_ELSEWHERE, exclude_defaults=True),
        "training": counted_alone(settings).training.model_dump(mode="json", include=_TRAINING),
        "batches": sorted(batches(work)),
        "rewards": [[term.name, str((term.model_dump().get("options") or {}).get("device", "cpu"))]
                    for term in settings.reward.terms],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def kept_counts(key: str, count: Callable[[], Counts]) -> Counts:
    """Counts of this key: shipped, counted before on this machine, or counted now."""
    kept = cache_folder() / "plan" / f"{key}.json"
    for file, read in ((SHIPPED, lambda found: found[key]), (kept, lambda found: found)):
        with contextlib.suppress(OSError, ValueError, LookupError):
            return TypeAdapter(Counts).validate_python(read(json.loads(file.read_text("utf-8"))))
    counts = count()
    with contextlib.suppress(StoreError, OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, asdict(counts))
    return counts


def _files(configs: Path) -> list[str]:
    return [INDEX, *sorted(str(file.relative_to(configs)) for file in configs.glob(f"*/{CONFIG}"))]
