"""What it costs to score an image: operations and parameters of the networks that rewards bring."""

from collections.abc import Mapping
from dataclasses import dataclass

from advantageflow.settings import RewardTerm


@dataclass(frozen=True)
class RewardCost:
    """One reward."""

    flops: float | None  # operations for one image; None where they are not known
    parameters: int | None  # of its networks; 0 where it has none, None where they are not known
    device: str  # where it runs, by its options
    note: str  # how the figures came about


# Operations for an image and its prompt, and parameters, of openai/clip-vit-large-patch14 and of laion/CLIP-ViT-H-14,
# which PickScore and HPSv2 fine-tune; the tests count them.
_CLIP_L = (175_325_222_400.0, 427_616_513)
_CLIP_H = (381_681_666_048.0, 986_109_441)
# Mask2Former with Swin-S, arXiv 2112.01527, table 1: 69 M parameters, 313 G multiply-adds at COCO's image sizes.
_MASK2FORMER = (2 * 313e9, 69_000_000)
_CROPS = 2  # coloured objects of an image that CLIP looks at, at most in most of GenEval's prompts
_ON_CPU = ("ocr", "jpeg", "layout", "shapes")


def reward_cost(term: RewardTerm) -> RewardCost:
    """The cost of a term's reward, from its name and options."""
    device = str((term.model_dump().get("options") or {}).get("device", "cpu"))
    if term.name in _ON_CPU:
        return RewardCost(None, 0, "cpu", "computes on the CPU; no time estimated")
    if term.name not in _NETWORKS:
        return RewardCost(None, None, device, "its cost is not known here")
    return RewardCost(*_NETWORKS[term.name][0], device, _NETWORKS[term.name][1])


_NETWORKS: Mapping[str, tuple[tuple[float, int], str]] = {
    "geneval": (
        (_MASK2FORMER[0] + _CROPS * _CLIP_L[0], _MASK2FORMER[1] + _CLIP_L[1]),
        f"Mask2Former as published (arXiv 2112.01527), CLIP ViT-L/14 on {_CROPS} objects, counted",
    ),
    "pickscore": (_CLIP_H, "CLIP ViT-H/14, image and prompt, counted"),
    "hpsv2": (_CLIP_H, "CLIP ViT-H/14, image and prompt, counted"),
    "aesthetic": (_CLIP_L, "CLIP ViT-L/14, image and prompt, counted"),
    "clipscore": (_CLIP_L, "CLIP ViT-L/14, image and prompt, counted"),
}
