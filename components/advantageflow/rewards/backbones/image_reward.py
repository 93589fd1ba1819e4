"""ImageReward's network (BLIP's image encoder, its text encoder with cross attention, a head) and its checkpoint."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import nn

from advantageflow.errors import RewardError
from advantageflow.rewards.backbones.pretrained import build_model, renamed

MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of raw rewards, as the package has them
VISION: dict[str, Any] = {  # BLIP's ViT-L, in the words of BlipVisionConfig
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 16, "hidden_act": "gelu", "layer_norm_eps": 1e-6,
}  # fmt: skip
TEXT: dict[str, Any] = {  # med_config.json, in the words of BlipTextConfig
    "vocab_size": 30524, "hidden_size": 768, "encoder_hidden_size": 1024, "intermediate_size": 3072,
    "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 512, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "is_decoder": True,  # what gives the layers their cross attention; self-attention stays bidirectional
}  # fmt: skip
HEAD_WIDTHS = (1024, 128, 64, 16, 1)
HEAD_NAMES = ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")  # between them the originals have dropout

_COMPUTED = "embeddings.position_ids"  # a buffer that the original saves
_VISION_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
)


class LinearHead(nn.Module):
    """Five linear layers with nothing between them, (N, D) to (N,): of ImageReward and of the LAION aesthetic score.

    Source: the MLP of christophschuhmann/improved-aesthetic-predictor, which ImageReward took over. Published heads
    were trained without activations ("linearMSE").
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        pairs = zip((width, *HEAD_WIDTHS[:-1]), HEAD_WIDTHS, strict=True)
        self.layers = nn.Sequential(*(nn.Linear(before, after) for before, after in pairs))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.layers(embeddings).squeeze(-1)
        return values

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor], *, where: str) -> Self:
        """A head in float32 from a checkpoint in the original's layout.
        Raises RewardError: it is not the checkpoint of such a head; names the tensor.
        """
        names = [(f"{name}.{part}", n, part) for n, name in enumerate(HEAD_NAMES) for part in ("weight", "bias")]
        strange = sorted(set(tensors) ^ {name for name, *_ in names})
        try:
            if strange:
                raise RuntimeError(f"{strange[0]} is not in both")
            head = cls(tensors["layers.0.weight"].shape[-1])
            head.load_state_dict({f"layers.{number}.{part}": tensors[name] for name, number, part in names})
        except RuntimeError as error:
            message = f"is not a checkpoint of the five linear layers: {str(error).splitlines()[-1].strip()}"
            remedy = "give sac+logos+ava1-l14-linearMSE, or one of its layout"
            raise RewardError(message, where=where, remedy=remedy) from error
        return head


class ImageRewardModel(nn.Module):
    """Scores pairs of an image and a prompt.

    Source: ImageReward.score of THUDM/ImageReward. The first token of the text, after cross attention to all patches of
    the image, goes through the head; the result is standardised.

    Args:
        vision: a BlipVisionModel.
        text: a BlipTextModel with cross attention and without a pooler.
        head: the head on the text's first token; computes in float32.
    """

    def __init__(self, vision: Any, text: Any, head: LinearHead) -> None:
        super().__init__()
        self.vision, self.text, self.head = vision, text, head

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(N, 3, side, side), (N, L) and (N, L) to the scores (N,), float32."""
        patches = self.vision(pixel_values=pixels).last_hidden_state
        hidden = self.text(input_ids=ids, attention_mask=mask, encoder_hidden_states=patches).last_hidden_state
        return (self.head(hidden[:, 0].float()) - MEAN) / STD


def load_image_reward(state: Mapping[str, torch.Tensor], *, where: str) -> ImageRewardModel:
    """The network in float32 from the state dict of ImageReward.pt, in any precision.

    The text encoder's names are those of transformers; both sides pack query, key and value of the image encoder alike.
    What the checkpoint has beside the three parts (BLIP's projections) is not read, as in the original. Raises
    RewardError: it is not ImageReward's; names the tensor.
    """
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    vision, text, head = (
        {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
        for part in ("blip.visual_encoder.", "blip.text_encoder.", "mlp.")
    )
    text.pop(_COMPUTED, None)
    return ImageRewardModel(
        build_model(BlipVisionModel, BlipVisionConfig(**VISION), renamed(vision, _VISION_NAMES), where=where),
        build_model(BlipTextModel, BlipTextConfig(**TEXT), text, where=where, add_pooling_layer=False),
        LinearHead.of(head, where=where),
    )
