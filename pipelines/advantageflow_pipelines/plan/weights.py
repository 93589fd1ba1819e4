"""Which weights a run needs, under which licences, whether they are on this machine already, and what it costs to score
an image with those of rewards.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from advantageflow.policy.configs import cached_file
from advantageflow.settings import ModelSettings, RewardSettings, RewardTerm

State = Literal["here", "partly", "missing"]
_COMMUNITY = (
    "Stability AI Community License: free below 1 M US$ of yearly revenue; its text encoders MIT and Apache-2.0"
)
_CARD = "see its model card"
_WEIGHTS = ("*.safetensors", "*.bin")
_INDEX = "*.index.json"


@dataclass(frozen=True)
class Weights:
    """Weights that somebody else publishes."""

    use: str  # what the run needs them for
    repository: str  # hub id, or the package that brings them
    licence: str
    gated: bool  # whether the hub gives them only to who has accepted their licence
    state: State  # whether they are on this machine
    note: str = ""  # what is missing


@dataclass(frozen=True)
class _Source:
    """What a reward loads: files of a hub repository, or a package that holds its weights itself."""

    repository: str
    licence: str
    files: tuple[tuple[str, ...], ...] = ()  # each with its alternatives: it is here if one of them is
    option: str = ""  # of the reward; names another repository, folder or file
    package: str = ""  # to import


_MODEL_FILES = (("config.json",), ("model.safetensors", "pytorch_model.bin"))
_TOKENIZER_FILES = (("tokenizer.json", "vocab.json", "vocab.txt"),)
_CLIP_L = "openai/clip-vit-large-patch14"
_CLIP_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
_MASK2FORMER = "facebook/mask2former-swin-small-coco-instance"
_HPS = tuple(f"HPS_v2.1_compressed.{end}" for end in ("safetensors", "pt"))
_AESTHETIC = tuple(f"sac+logos+ava1-l14-linearMSE.{end}" for end in ("safetensors", "pth"))
_IMAGE_REWARD = ("ImageReward.safetensors", "ImageReward.pt")
_REWARDS: Mapping[str, tuple[_Source, ...]] = {
    "geneval": (
        _Source(_MASK2FORMER, f"code MIT; of the weights {_CARD}", _MODEL_FILES, "model"),
        _Source(_CLIP_L, "MIT", _MODEL_FILES, "clip"),
    ),
    "ocr": (_Source("RapidOCR and its models", "Apache-2.0; the models are PaddleOCR's", package="rapidocr"),),
    "pickscore": (
        _Source("yuvalkirstain/PickScore_v1", f"code MIT; of the weights {_CARD}", _MODEL_FILES, "model"),
        _Source(_CLIP_H, "MIT", _TOKENIZER_FILES, "processor"),
    ),
    "hpsv2": (
        _Source("xswu/HPSv2", "Apache-2.0", (_HPS,), "model"),
        _Source(_CLIP_H, "MIT", _TOKENIZER_FILES, "tokenizer"),
    ),
    "aesthetic": (
        _Source(_CLIP_L, "MIT", _MODEL_FILES, "model"),
        _Source("trl-lib/ddpo-aesthetic-predictor", "Apache-2.0 (LAION's head, TRL's copy)", (_AESTHETIC,), "head"),
    ),
    "imagereward": (
        _Source("THUDM/ImageReward", "Apache-2.0", (_IMAGE_REWARD,), "model"),
        _Source("google-bert/bert-base-uncased", "Apache-2.0", _TOKENIZER_FILES, "tokenizer"),
    ),
    "clipscore": (_Source(_CLIP_L, "MIT", _MODEL_FILES, "model"),),
}  # fmt: skip
_LICENCES = {
    "stable-diffusion-3.5-medium": (_COMMUNITY, True),
    "stable-diffusion-3.5-large": (_COMMUNITY, True),
    "stable-diffusion-3-medium-diffusers": (_COMMUNITY, True),
    "FLUX.1-dev": ("FLUX.1 [dev] Non-Commercial License", True),
    "Qwen-Image": ("Apache-2.0", False),
    "Z-Image-Turbo": ("Apache-2.0", False),
}


def needed_weights(model: ModelSettings, parts: Collection[str], reward: RewardSettings) -> list[Weights]:
    """The weights of the model, which has these parts, and of every reward; each once."""
    found = [_model_weights(model, parts)]
    for term in reward.terms:
        options = term.model_dump().get("options") or {}
        found += [_reward_weights(term.name, source, options) for source in _REWARDS.get(term.name, ())]
    return list({one.repository: one for one in reversed(found)}.values())[::-1]


def _model_weights(model: ModelSettings, parts: Collection[str]) -> Weights:
    if model.name == "shapes":
        return Weights("the model", "shapes, in this package", "Apache-2.0, as this package", False, "here")
    licence, gated = _LICENCES.get(model.name.rpartition("/")[2], (_CARD, False))
    folder: Path | None = Path(model.name)
    if not Path(model.name).is_dir():
        index = cached_file(model.name, "model_index.json", model.revision)
        folder = None if index is None else index.parent
    missing = [part for part in parts if folder is None or not _complete(folder / part)]
    return Weights("the model", model.name, licence, gated, *_state(missing, len(parts)))


def _reward_weights(reward: str, source: _Source, options: Mapping[str, object]) -> Weights:
    use = f"reward {reward}"
    if source.package:
        here = find_spec(source.package) is not None
        note = "" if here else f"install the package {source.package}"
        return Weights(use, source.repository, source.licence, False, "here" if here else "missing", note)
    repository = str(options.get(source.option) or source.repository)
    licence = source.licence if repository == source.repository else _CARD
    missing = [names[0] for names in source.files if not any(_is_here(repository, name) for name in names)]
    return Weights(use, repository, licence, False, *_state(missing, len(source.files)))


def _state(missing: Collection[str], needed: int) -> tuple[State, str]:
    """Of what needs so many things of which some are missing; and which, where it is not all."""
    if missing and len(missing) < needed:
        return "partly", f"missing: {', '.join(missing)}"
    return "missing" if missing else "here", ""


def _is_here(repository: str, name: str) -> bool:
    """In a folder, or the file itself, or in the hub's cache."""
    place = Path(repository)
    return place.is_file() or (place / name).exists() or cached_file(repository, name) is not None


def _complete(folder: Path) -> bool:
    """Whether all weights of a part are there: every shard that its index names, or a file of weights."""
    for index in folder.glob(_INDEX):
        try:
            shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError):
            return False
        return all((folder / shard).exists() for shard in shards)
    return any(True for pattern in _WEIGHTS for _ in folder.glob(pattern))


@dataclass(frozen=True)
class RewardCost:
    """One reward."""

    flops: float | None  # operations for one image; None where they are not known
    parameters: int | None  # of its networks; 0 where it has none, None where they are not known
    device: str  # where it runs, by its options
    note: str  # how the figures came about


# Operations for an image and its prompt, and parameters, of openai/clip-vit-large-patch14 and of laion/CLIP-ViT-H-14,
# which PickScore and HPSv2 fine-tune; the tests count them.
CLIP_L_COST = (175_325_222_400.0, 427_616_513)
CLIP_H_COST = (381_681_666_048.0, 986_109_441)
# Mask2Former with Swin-S, arXiv 2112.01527, table 1: 69 M parameters, 313 G multiply-adds at COCO's image sizes.
_MASK2FORMER_COST = (2 * 313e9, 69_000_000)
_CROPS = 2  # coloured objects of an image that CLIP looks at, at most in most of GenEval's prompts
_ON_CPU = ("ocr", "jpeg", "layout", "shapes")


def reward_cost(term: RewardTerm) -> RewardCost:
    """The cost of a term's reward, from its name and options."""
    device = str((term.model_dump().get("options") or {}).get("device", "cpu"))
    if term.name in _ON_CPU:
        return RewardCost(None, 0, "cpu", "computes on the CPU; no time estimated")
    cost, note = _NETWORKS.get(term.name, ((None, None), "its cost is not known here"))
    return RewardCost(*cost, device, note)


_NETWORKS: Mapping[str, tuple[tuple[float | None, int | None], str]] = {
    "geneval": (
        (_MASK2FORMER_COST[0] + _CROPS * CLIP_L_COST[0], _MASK2FORMER_COST[1] + CLIP_L_COST[1]),
        f"Mask2Former as published (arXiv 2112.01527), CLIP ViT-L/14 on {_CROPS} objects, counted",
    ),
    **dict.fromkeys(("pickscore", "hpsv2"), (CLIP_H_COST, "CLIP ViT-H/14, image and prompt, counted")),
    **dict.fromkeys(("aesthetic", "clipscore"), (CLIP_L_COST, "CLIP ViT-L/14, image and prompt, counted")),
}
