"""HPSv2.1 on a tiny checkpoint in open_clip's layout, against open_clip's own arithmetic written with torch alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import normalize
from transformers import CLIPConfig, CLIPModel

from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards import hpsv2
from advantageflow.rewards.hpsv2 import HpsReward, cleaned, load_open_clip
from advantageflow.rewards.plumbing.checks import score_images

SIZES = hpsv2.VIT_H_14
TokenIds = Callable[[str], list[int]]
State = dict[str, torch.Tensor]
SIDE, PATCH, WIDTH, LENGTH, DIM, HEADS = 28, 7, 32, 20, 24, 16


class Block(nn.Module):
    """A residual attention block with the names that open_clip gives its parts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, HEADS, batch_first=True)
        layers = [("c_fc", nn.Linear(width, 3 * width)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(3 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(2))


class Visual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width)
        self.proj = nn.Parameter(torch.randn(width, DIM))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        x = self.ln_pre(x + self.positional_embedding)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[:, 0]) @ self.proj


class OpenClip(nn.Module):
    """What an open_clip checkpoint is the state dict of."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.visual = Visual(2 * WIDTH)
        self.token_embedding = nn.Embedding(vocabulary, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.transformer = Transformer(WIDTH)
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(ids) + self.positional_embedding
        for block in self.transformer.resblocks:
            x = block(x, torch.full((LENGTH, LENGTH), float("-inf")).triu(1))
        return self.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=-1)] @ self.text_projection


def vocabulary_size(token_ids: TokenIds) -> int:
    return token_ids("")[-1] + 1


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, token_ids: TokenIds) -> None:
    """A model of the checkpoint's sizes in place of ViT-H-14."""
    size, equal = vocabulary_size(token_ids), {"num_hidden_layers": 2, "hidden_act": "gelu", "projection_dim": DIM}
    text = {"hidden_size": WIDTH, "intermediate_size": 3 * WIDTH, "num_attention_heads": HEADS, "vocab_size": size}
    vision = {"hidden_size": 2 * WIDTH, "intermediate_size": 6 * WIDTH, "num_attention_heads": HEADS}
    text |= {"max_position_embeddings": LENGTH, "bos_token_id": size - 2, "eos_token_id": size - 1}
    vision |= {"patch_size": PATCH, "image_size": SIDE}
    sizes = {"projection_dim": DIM, "text_config": text | equal, "vision_config": vision | equal}
    monkeypatch.setattr(hpsv2, "VIT_H_14", sizes)


def test_the_sizes_are_those_of_vit_h_14() -> None:
    """Of laion/CLIP-ViT-H-14-laion2B-s32B-b79K, 986,109,441 parameters."""
    with torch.device("meta"):
        model = CLIPModel(CLIPConfig(**SIZES))
    assert sum(value.numel() for value in model.parameters()) == 986_109_441
    assert (model.config.vision_config.image_size, model.config.text_config.vocab_size) == (224, 49408)


@pytest.fixture(scope="module")
def original(token_ids: TokenIds) -> OpenClip:
    torch.manual_seed(0)
    model = OpenClip(vocabulary_size(token_ids))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name != "logit_scale":
                value.copy_(torch.randn(value.shape) * (0.5 if value.ndim == 1 else 0.25))
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(original: OpenClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As published: the state dict under 'state_dict', in a .pt file."""
    path = tmp_path_factory.mktemp("hps") / "HPS_v2.1_compressed.pt"
    torch.save({"state_dict": original.state_dict()}, path)
    return path


def padded(ids: list[int]) -> torch.Tensor:
    """open_clip pads with zeros, not with the end of text."""
    return torch.tensor([[*ids, *[0] * (LENGTH - len(ids))]])


def square(image: np.ndarray, *, antialias: bool = True) -> torch.Tensor:
    """Longer side to SIDE as a float tensor, black borders, normalised."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (round(height * scale), round(width * scale))
    pixels = torch.tensor(image / 255, dtype=torch.float32).permute(2, 0, 1)[None]
    small = nn.functional.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=antialias)[0]
    canvas = torch.zeros(3, SIDE, SIDE)
    top, left = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    canvas[:, top : top + size[0], left : left + size[1]] = small
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    return ((canvas - mean) / torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None])[None]


def values(reward: HpsReward, prompts: list[Prompt], images: list[np.ndarray]) -> list[float]:
    samples = [str(number) for number in range(len(images))]
    return [result["score"] for result, _ in score_images(reward, prompts, images, samples)]


def test_the_converted_model_computes_what_open_clip_does(original: OpenClip, token_ids: TokenIds) -> None:
    model = load_open_clip(original.state_dict(), where="here")
    pixels, ids = torch.randn(3, 3, SIDE, SIDE), padded(token_ids("a dog at a cat"))
    with torch.no_grad():
        torch.testing.assert_close(
            model.get_image_features(pixels).pooler_output, original.visual(pixels), atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(model.get_text_features(ids).pooler_output, original.text(ids), atol=1e-4, rtol=1e-4)
    assert model.logit_scale.item() == original.logit_scale.item()


def test_the_score_is_open_clips_cosine(
    original: OpenClip,
    checkpoint: Path,
    tokenizer_folder: Path,
    images: list[np.ndarray],
    prompts: list[Prompt],
    token_ids: TokenIds,
) -> None:
    reward = HpsReward(model=str(checkpoint), tokenizer=str(tokenizer_folder), batch=2)
    expected = []
    for prompt, image in zip(prompts, images, strict=True):
        with torch.no_grad():
            seen = normalize(original.visual(square(image)), dim=-1)
            read = normalize(original.text(padded(token_ids(prompt.text))), dim=-1)
        expected.append(float((seen * read).sum()))
    together = values(reward, prompts, images)
    assert together == pytest.approx(expected, abs=1e-5)
    assert np.std(expected) > 0.005
    alone = [values(reward, [prompt], [image])[0] for prompt, image in zip(prompts, images, strict=True)]
    assert alone == pytest.approx(together, abs=1e-5)
    assert values(reward, prompts, images) == together
    assert [details["tokens_cut"] for _, details in reward.score(prompts, images)] == [0, 0, 0, 0, 21]


def test_without_antialiasing_large_images_score_as_with_older_torchvision(
    original: OpenClip, checkpoint: Path, tokenizer_folder: Path, images: list[np.ndarray], token_ids: TokenIds
) -> None:
    options = {"model": str(checkpoint), "tokenizer": str(tokenizer_folder)}
    old, new = HpsReward(**options, antialias=False), HpsReward(**options)
    with torch.no_grad():
        seen = normalize(original.visual(square(images[1], antialias=False)), dim=-1)
        read = normalize(original.text(padded(token_ids("a cat"))), dim=-1)
    prompt = [Prompt("a cat", "train", "all")]
    score = values(old, prompt, images[1:2])[0]
    assert score == pytest.approx(float((seen * read).sum()), abs=1e-5)
    assert abs(score - values(new, prompt, images[1:2])[0]) > 1e-4
    assert old.version != new.version


def test_a_safetensors_checkpoint_in_half_precision_is_read_and_preferred(
    original: OpenClip, tokenizer_folder: Path, images: list[np.ndarray], prompts: list[Prompt], tmp_path: Path
) -> None:
    half = {name: value.half() for name, value in original.state_dict().items()}
    save_file(half, tmp_path / "HPS_v2.1_compressed.safetensors")
    (tmp_path / "HPS_v2.1_compressed.pt").write_bytes(b"not read")
    torch.save(half, tmp_path / "only.pt")
    by_folder, by_file = (
        HpsReward(model=str(place), tokenizer=str(tokenizer_folder)) for place in (tmp_path, tmp_path / "only.pt")
    )
    assert values(by_folder, prompts, images) == values(by_file, prompts, images)
    assert by_folder.version == by_file.version


def test_a_checkpoint_that_runs_code_is_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"model": nn.Linear(2, 2)}}, tmp_path / "HPS_v2.1_compressed.pt")
    with pytest.raises(RewardError, match="cannot read") as caught:
        _ = HpsReward(model=str(tmp_path), tokenizer=str(tokenizer_folder)).version
    assert "safetensors" in caught.value.remedy
    assert "reward 'hpsv2', option model" in caught.value.where


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual.conv1.weight"), "lacks vision_model.embeddings.patch_embedding.weight"),
        (lambda state: state.pop("transformer.resblocks.1.ln_2.bias"), "lacks text_model.encoder.layers.1.layer_norm2"),
        (lambda state: state.update({"visual.head.weight": torch.zeros(1)}), "nothing to do with visual.head.weight"),
        (
            lambda state: state.update({"ln_final.bias": torch.zeros(3)}),
            "another shape for text_model.final_layer_norm.bias",
        ),
    ],
)
def test_a_checkpoint_of_another_layout_names_the_tensor(
    original: OpenClip, change: Callable[[State], object], message: str
) -> None:
    state = dict(original.state_dict())
    change(state)
    with pytest.raises(RewardError, match=message) as caught:
        load_open_clip(state, where="here")
    assert caught.value.where == "here"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a \u201ccat\u201d\u2019s bowl", 'a "cat"\'s bowl'),
        ("salt &amp;amp; pepper ", "salt & pepper"),
        ("plain", "plain"),
    ],
)
def test_prompts_are_cleaned_as_by_the_original(text: str, clean: str) -> None:
    assert cleaned(text) == clean
