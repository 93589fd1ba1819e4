"""ImageReward on a tiny checkpoint in the original's layout, against BLIP's arithmetic written with torch alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.backbones import image_reward
from advantageflow.rewards.backbones.image_reward import load_image_reward
from advantageflow.rewards.imagereward import TOKENS, ImageRewardReward
from advantageflow.rewards.plumbing.checks import score_images

SIDE, PATCH, VISION, TEXT, LAYERS = 16, 8, 32, 24, 2
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "on", "the", "mat", "##s", ",", "!"]
State = dict[str, torch.Tensor]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, bias: torch.Tensor | None) -> torch.Tensor:
    parts = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v)]
    return scaled_dot_product_attention(*parts, attn_mask=bias).transpose(1, 2).flatten(2)


class Parts(nn.Module):
    """Modules by name, also by names that are none of Python's."""

    def __init__(self, /, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class Block(nn.Module):
    """A layer of BLIP's image encoder, with the original's names."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(VISION, eps=1e-6), nn.LayerNorm(VISION, eps=1e-6)
        self.attn = Parts(qkv=nn.Linear(VISION, 3 * VISION), proj=nn.Linear(VISION, VISION))
        self.mlp = Parts(fc1=nn.Linear(VISION, 3 * VISION), fc2=nn.Linear(3 * VISION, VISION))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.attn.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.attn.proj(attend(q, k, v, 16, None))
        return x + self.mlp.fc2(gelu(self.mlp.fc1(self.norm2(x))))


class VisualEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, VISION))
        self.pos_embed = nn.Parameter(torch.randn(1, (SIDE // PATCH) ** 2 + 1, VISION))
        self.patch_embed = Parts(proj=nn.Conv2d(3, VISION, PATCH, PATCH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(VISION, eps=1e-6)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed.proj(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def output(width: int) -> Parts:
    return Parts(dense=nn.Linear(width, TEXT), LayerNorm=nn.LayerNorm(TEXT, eps=1e-12))


def attention(source: int) -> Parts:
    projections = Parts(query=nn.Linear(TEXT, TEXT), key=nn.Linear(source, TEXT), value=nn.Linear(source, TEXT))
    return Parts(**{"self": projections, "output": output(TEXT)})


class TextLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.crossattention = attention(TEXT), attention(VISION)
        self.intermediate, self.output = Parts(dense=nn.Linear(TEXT, 60)), output(60)

    def forward(self, x: torch.Tensor, bias: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        for part, source, mask in ((self.attention, x, bias), (self.crossattention, patches, None)):
            q, k, v = part.self.query(x), part.self.key(source), part.self.value(source)
            x = part.output.LayerNorm(part.output.dense(attend(q, k, v, 12, mask)) + x)
        return self.output.LayerNorm(self.output.dense(gelu(self.intermediate.dense(x))) + x)


class TextEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Parts(
            word_embeddings=nn.Embedding(len(WORDS) + 2, TEXT),
            position_embeddings=nn.Embedding(40, TEXT),
            LayerNorm=nn.LayerNorm(TEXT, eps=1e-12),
        )
        self.embeddings.register_buffer("position_ids", torch.arange(40)[None])
        self.encoder = Parts(layer=nn.ModuleList(TextLayer() for _ in range(LAYERS)))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        positions = self.embeddings.position_embeddings(torch.arange(ids.shape[1]))
        x = self.embeddings.LayerNorm(self.embeddings.word_embeddings(ids) + positions)
        bias = (1 - mask.float())[:, None, None] * -10000
        for layer in self.encoder.layer:
            x = layer(x, bias, patches)
        return x


class Original(nn.Module):
    """What ImageReward.pt is the state dict of."""

    def __init__(self) -> None:
        super().__init__()
        self.blip = Parts(
            visual_encoder=VisualEncoder(),
            text_encoder=TextEncoder(),
            vision_proj=nn.Linear(VISION, 8),
            text_proj=nn.Linear(TEXT, 8),
        )
        widths = (TEXT, 1024, 128, 64, 16, 1)
        one, two, three, four, five = (nn.Linear(a, b) for a, b in pairwise(widths))
        self.mlp = Parts(
            layers=nn.Sequential(one, nn.Dropout(0.2), two, nn.Dropout(0.2), three, nn.Dropout(0.1), four, five)
        )

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        first = self.blip.text_encoder(ids, mask, self.blip.visual_encoder(pixels))[:, 0]
        return (self.mlp.layers(first)[:, 0] - 0.16717362830052426) / 1.0333394966054072


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the checkpoint's sizes in place of ImageReward's."""
    vision = {"hidden_size": VISION, "intermediate_size": 3 * VISION, "image_size": SIDE, "patch_size": PATCH}
    text = {"vocab_size": len(WORDS) + 2, "hidden_size": TEXT, "encoder_hidden_size": VISION, "intermediate_size": 60}
    layers = {"num_hidden_layers": LAYERS}
    monkeypatch.setattr(image_reward, "VISION", image_reward.VISION | vision | layers)
    monkeypatch.setattr(image_reward, "TEXT", image_reward.TEXT | text | layers | {"max_position_embeddings": 40})


@pytest.fixture(scope="module")
def original() -> Original:
    torch.manual_seed(0)
    model = Original()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape) * (0.5 if value.ndim == 1 else 1.7 * value[0].numel() ** -0.5))
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imagereward") / "ImageReward.pt"
    torch.save(original.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """BERT's tokenizer, as bert-base-uncased is laid out."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 512}')
    return str(folder)


def read(words: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of a text whose words are given apart; cut to TOKENS."""
    vocabulary = [*WORDS, "[DEC]", "[ENC]"]
    known = [vocabulary.index(word) for word in words.split()][: TOKENS - 2]
    ids, padding = [2, *known, 3], [0] * (TOKENS - 2 - len(known))
    return torch.tensor([[*ids, *padding]]), torch.tensor([[*[1] * len(ids), *padding]])


TEXTS = {
    "A cat": "a cat",
    "the dogs, on the mat!": "the dog ##s , on the mat !",
    "a cat": "a cat",
    "a cat [ENC]": "a cat [ENC]",
    " ".join(["the cat on the mat"] * 9): " ".join(["the cat on the mat"] * 9),
}


@pytest.fixture(scope="module")
def asked() -> list[Prompt]:
    return [Prompt(text, "train", "all") for text in TEXTS]


def pixels(image: np.ndarray) -> torch.Tensor:
    picture = Image.fromarray(image)
    width, height = (int(SIDE * length / min(picture.size)) for length in picture.size)
    array = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)) / 255
    top, left = round((height - SIDE) / 2), round((width - SIDE) / 2)
    square = (array[top : top + SIDE, left : left + SIDE] - [0.48145466, 0.4578275, 0.40821073]) / [
        0.26862954,
        0.26130258,
        0.27577711,
    ]
    return torch.tensor(square.transpose(2, 0, 1), dtype=torch.float32)[None]


def values(reward: ImageRewardReward, prompts: list[Prompt], images: list[np.ndarray]) -> list[float]:
    samples = [str(number) for number in range(len(images))]
    return [result["score"] for result, _ in score_images(reward, prompts, images, samples)]


def test_the_score_is_the_originals_for_each_pair(
    original: Original, checkpoint: Path, bert: str, images: list[np.ndarray], asked: list[Prompt]
) -> None:
    reward = ImageRewardReward(model=str(checkpoint), tokenizer=bert, batch=2)
    with torch.no_grad():
        expected = [
            original(pixels(image), *read(words)).item() for image, words in zip(images, TEXTS.values(), strict=True)
        ]
    together = values(reward, asked, images)
    assert together == pytest.approx(expected, abs=1e-4)
    assert np.std(expected) > 0.05
    alone = [values(reward, [prompt], [image])[0] for prompt, image in zip(asked, images, strict=True)]
    assert alone == pytest.approx(together, abs=1e-5)
    assert values(reward, asked, images) == together


def test_details_say_how_much_of_a_prompt_was_cut(
    checkpoint: Path, bert: str, images: list[np.ndarray], asked: list[Prompt]
) -> None:
    results = ImageRewardReward(model=str(checkpoint), tokenizer=bert).score(asked, images)
    assert [details["tokens_cut"] for _, details in results] == [0, 0, 0, 0, 45 + 2 - TOKENS]


def test_safetensors_are_preferred_and_score_alike(
    original: Original, checkpoint: Path, bert: str, images: list[np.ndarray], asked: list[Prompt], tmp_path: Path
) -> None:
    save_file(original.state_dict(), tmp_path / "ImageReward.safetensors")
    (tmp_path / "ImageReward.pt").write_bytes(b"not read")
    by_folder, by_file = (ImageRewardReward(model=str(place), tokenizer=bert) for place in (tmp_path, checkpoint))
    assert values(by_folder, asked, images) == values(by_file, asked, images)
    assert by_folder.version == by_file.version


def test_lower_precision_scores_alike_with_the_head_in_full_precision(
    checkpoint: Path, bert: str, images: list[np.ndarray], asked: list[Prompt]
) -> None:
    full, half = (
        ImageRewardReward(model=str(checkpoint), tokenizer=bert, dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    assert values(half, asked, images) == pytest.approx(values(full, asked, images), abs=0.1)
    weights = [reward._parts[0].head.layers[0].weight for reward in (full, half)]
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("blip.visual_encoder.patch_embed.proj.weight"),
            "lacks embeddings.patch_embedding.weight",
        ),
        (lambda state: state.pop("blip.text_encoder.encoder.layer.1.crossattention.self.key.bias"), "lacks encoder"),
        (lambda state: state.update({"blip.visual_encoder.head.bias": torch.zeros(1)}), "nothing to do with head.bias"),
        (lambda state: state.pop("mlp.layers.7.bias"), r"layers\.7\.bias is not in both"),
    ],
)
def test_a_checkpoint_of_another_layout_names_the_tensor(
    original: Original, change: Callable[[State], object], message: str
) -> None:
    state = dict(original.state_dict())
    change(state)
    with pytest.raises(RewardError, match=message) as caught:
        load_image_reward(state, where="here")
    assert caught.value.where == "here"


def test_a_tokenizer_of_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "more", "words"]) + "\n")
    reward = ImageRewardReward(model=str(checkpoint), tokenizer=str(tmp_path))
    with pytest.raises(RewardError, match="18 tokens, the text encoder only 16"):
        _ = reward.version
