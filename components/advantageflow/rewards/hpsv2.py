"""HPSv2.1: how much people would prefer an image for a prompt, by an open_clip model tuned on their rankings."""

import html
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

from advantageflow.annotations import Tensor
from advantageflow.records import Prompt
from advantageflow.rewards.backbones.learned import ClipReward
from advantageflow.rewards.backbones.pixels import padded_square
from advantageflow.rewards.backbones.pretrained import build_model, find_file, load_processor, read_tensors, renamed

FILES = ("HPS_v2.1_compressed.safetensors", "HPS_v2.1_compressed.pt")
_EQUAL: dict[str, Any] = {"num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 1024}  # not quick_gelu
VIT_H_14: dict[str, Any] = {  # as open_clip's model_configs/ViT-H-14.json has it, in the words of CLIPConfig
    "projection_dim": 1024,
    "text_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, **_EQUAL},
    "vision_config": {
        "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "patch_size": 14, **_EQUAL,
    },
}  # fmt: skip
_NAMES = (
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_(\d)\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.attn\.in_proj_", ".self_attn.in_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
)
_PROJECTIONS = ("visual_projection.weight", "text_projection.weight")
_COMPUTED = "attn_mask"  # a buffer that some versions save
_STRAIGHT_QUOTES = str.maketrans("\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f", "''''\"\"\"\"")


class HpsReward(ClipReward):
    """HPSv2.1 (human preference): the cosine of image and prompt by a tuned CLIP-H, not times 100.

    Follows score() of tgxs002/HPSv2 (package hpsv2 1.2.0, Wu et al., arXiv 2306.09341) on transformers' CLIPModel; good
    images reach about 0.25 to 0.35, papers often show it times 100. Images: longer side to 224, black borders. The
    original resizes float tensors by torchvision's resize, whose default became antialiased in torchvision 0.17:
    `antialias=False` gives the numbers of earlier versions. The original computes in half precision on GPUs
    (autocast); here `dtype` says. Prompts of more than 77 tokens are cut, as in the original; details say by how many
    tokens. HTML entities and curly quotes of prompts are replaced as in the original; its other repairs of broken
    text (ftfy: mojibake, ligatures, full-width letters) are not made.

    Attributes:
        model: hub id, folder or file of the checkpoint: .safetensors, or the published .pt, read by
            torch.load(weights_only=True).
        tokenizer: hub id or folder of CLIP's tokenizer.
        revision: branch, tag or commit of the checkpoint on the hub.
        antialias: whether large images are averaged, not sampled, when made smaller.
        device, batch, dtype: see LearnedReward.
    """

    name = "hpsv2"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (-1.0, 1.0)}

    model: str = "xswu/HPSv2"
    tokenizer: str = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    revision: str | None = None
    antialias: bool = True

    @property
    def unloaded_version(self) -> str:
        """What is known of the version before the weights are loaded; how images are resized is part of it."""
        return f"{super().unloaded_version}, {'' if self.antialias else 'not '}antialiased"

    def _text(self, prompt: Prompt) -> str:
        return cleaned(prompt.text)

    @cached_property
    def _parts(self) -> tuple[Any, ...]:
        from transformers import CLIPTokenizer

        from advantageflow.rewards.backbones.clip import clip_parts

        where = self.where("model")
        tokenizer = load_processor(CLIPTokenizer, self.tokenizer, where=self.where("tokenizer"))
        path = find_file(self.model, FILES, where=where, revision=self.revision)
        model = load_open_clip(read_tensors(path, where=where), where=f"{where}, {path}")
        side = model.config.vision_config.image_size
        pixels = partial(padded_square, side=side, antialias=self.antialias)
        return clip_parts(self, model, tokenizer, pixels)


def cleaned(text: str) -> str:
    """A prompt as open_clip's tokenizer cleans it, apart from what ftfy would mend."""
    return html.unescape(html.unescape(text.translate(_STRAIGHT_QUOTES))).strip()


def load_open_clip(state: Mapping[str, Tensor], *, where: str) -> Any:
    """A CLIPModel in float32 from the state dict of open_clip's ViT-H-14, in any precision; `where` it is from, for
    errors. Raises RewardError: it is of another model; names the tensor.

    open_clip packs query, key and value into one matrix, in this order, and its projections are applied from the right
    (x @ P), so that they are transposed for a linear layer.
    """
    from transformers import CLIPConfig, CLIPModel

    tensors: dict[str, Tensor] = {}
    for name, value in renamed(state, _NAMES).items():
        if ".in_proj." in name:
            for one, part in zip("qkv", value.chunk(3), strict=True):
                tensors[name.replace(".in_proj.", f".{one}_proj.")] = part.contiguous()
        elif name != _COMPUTED:
            tensors[name] = value.T.contiguous() if name in _PROJECTIONS else value
    return build_model(CLIPModel, CLIPConfig(**VIT_H_14), tensors, where=where)
