"""What it costs to score an image: operations and parameters of the networks that rewards bring."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from advantageflow.settings import RewardTerm


@dataclass(frozen=True)
class RewardCost:
    """One reward."""

    flops: float | None  # operations for one image; None where they are not known
    parameters: int | None  # of its networks; 0 where it has none, None where they are not known
    device: str  # where it runs, by its options
    note: str  # how the figures came about


# CLIPConfig of openai/clip-vit-large-patch14 and of laion/CLIP-ViT-H-14, which PickScore and HPSv2 fine-tune.
_CLIP_L: dict[str, Any] = {
    "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                      "num_attention_heads": 16, "patch_size": 14, "image_size": 224},
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "projection_dim": 768,
}  # fmt: skip
_CLIP_H: dict[str, Any] = {
    "vision_config": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                      "num_attention_heads": 16, "patch_size": 14, "image_size": 224},
    "text_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    "projection_dim": 1024,
}  # fmt: skip
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
    flops, parameters, note = _NETWORKS[term.name]()
    return RewardCost(flops, parameters, device, note)


def _clip(config: Mapping[str, Any], name: str) -> Callable[[], tuple[float, int, str]]:
    def count() -> tuple[float, int, str]:
        flops, parameters = _count_clip(config)
        return flops, parameters, f"{name}, image and prompt, counted"

    return count


def _geneval() -> tuple[float, int, str]:
    flops, parameters = _count_clip(_CLIP_L)
    note = f"Mask2Former as published (arXiv 2112.01527), CLIP ViT-L/14 on {_CROPS} objects, counted"
    return _MASK2FORMER[0] + _CROPS * flops, _MASK2FORMER[1] + parameters, note


def _count_clip(config: Mapping[str, Any]) -> tuple[float, int]:
    import torch
    from transformers import CLIPConfig, CLIPModel

    from advantageflow_pipelines.plan.model_costs import operations
    from advantageflow_pipelines.plan.skeleton import META, parameters

    with META:
        model = CLIPModel(CLIPConfig(**config)).eval()
        ids, pixels = torch.zeros(1, 77, dtype=torch.long), torch.empty(1, 3, 224, 224)
    return operations(lambda: model(input_ids=ids, pixel_values=pixels)), parameters(model)


_NETWORKS: Mapping[str, Callable[[], tuple[float, int, str]]] = {
    "geneval": _geneval,
    "pickscore": _clip(_CLIP_H, "CLIP ViT-H/14"),
    "hpsv2": _clip(_CLIP_H, "CLIP ViT-H/14"),
    "aesthetic": _clip(_CLIP_L, "CLIP ViT-L/14"),
    "clipscore": _clip(_CLIP_L, "CLIP ViT-L/14"),
}
