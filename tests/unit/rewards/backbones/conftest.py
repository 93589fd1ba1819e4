"""Tiny random models of the real classes, laid out in folders as the published ones are on the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from advantageflow.records import Prompt

SIDE, PATCH, WIDTH, LENGTH = 28, 7, 32, 20
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
# As in openai/clip-vit-large-patch14 and laion/CLIP-ViT-H-14-laion2B-s32B-b79K, written by versions of long ago.
IMAGE_PROCESSOR = {
    "crop_size": SIDE,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": SIDE,
}


def vocabulary() -> tuple[dict[str, int], list[str]]:
    """CLIP's kind of vocabulary: characters, characters that end a word, a few merges, the special tokens last."""
    characters = [chr(code) for code in range(33, 127)]
    merges = ["a t</w>", "c at</w>", "d o", "do g</w>"]
    tokens = [*characters, *(f"{one}</w>" for one in characters), *(merge.replace(" ", "") for merge in merges)]
    return {token: number for number, token in enumerate([*tokens, *SPECIAL])}, merges


def write_tokenizer(folder: Path) -> None:
    vocab, merges = vocabulary()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    start, end = SPECIAL
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "bos_token": start, "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": end, "unk_token": end}))


def randomise(model: nn.Module, seed: int) -> None:
    """Weights large enough that a wrong activation, order or mask shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name != "logit_scale":
                value.copy_(torch.randn(value.shape, generator=generator) * (0.5 if value.ndim == 1 else 0.25))


def clip_model(seed: int, act: str = "quick_gelu", heads: int = 4) -> CLIPModel:
    tower = {"num_attention_heads": heads, "num_hidden_layers": 2, "hidden_act": act, "projection_dim": 24}
    size = len(vocabulary()[0])
    text = {"vocab_size": size, "hidden_size": WIDTH, "intermediate_size": 48, "max_position_embeddings": LENGTH}
    text |= {"bos_token_id": size - 2, "eos_token_id": size - 1}
    vision = {"hidden_size": 2 * WIDTH, "intermediate_size": 80, "image_size": SIDE, "patch_size": PATCH}
    model = CLIPModel(
        CLIPConfig(
            text_config=text | tower, vision_config=vision | tower, projection_dim=24, logit_scale_init_value=3.0
        )
    )
    randomise(model, seed)
    return model.eval()


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel with its tokenizer and image processor."""
    folder = tmp_path_factory.mktemp("clip")
    clip_model(0).save_pretrained(folder)
    write_tokenizer(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGE_PROCESSOR))
    return folder


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP's tokenizer and image processor without a model."""
    folder = tmp_path_factory.mktemp("processor")
    write_tokenizer(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(IMAGE_PROCESSOR))
    return folder


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Smooth colourful pictures of several shapes."""
    pictures = []
    for seed, (height, width) in enumerate([(40, 40), (64, 45), (33, 57), (28, 28), (20, 31)]):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 6 // height, np.arange(width) * 6 // width
        pictures.append(coarse[rows][:, columns])
    return pictures


@pytest.fixture(scope="session")
def prompts() -> list[Prompt]:
    """As many prompts as images; two are the same, one is longer than the encoders' limit."""
    texts = ["a cat", "a dog at a cat's bowl", "a cat", "Dog!", "one two three four five six seven eight nine ten"]
    return [Prompt(text, "train", "all") for text in texts]


@pytest.fixture(scope="session")
def token_ids() -> Callable[[str], list[int]]:
    """Token ids of a text by byte pair merging done by hand, words by spaces and punctuation; limited to LENGTH."""
    vocab, _ = vocabulary()
    pieces = {"cat": ["cat</w>"], "dog": ["dog</w>"], "at": ["at</w>"]}

    def ids(text: str) -> list[int]:
        words = text.lower().replace("'s", " 's ").replace("!", " ! ").split()
        tokens = [piece for word in words for piece in pieces.get(word, _letters(word))]
        numbers = [vocab[SPECIAL[0]], *(vocab[token] for token in tokens), vocab[SPECIAL[1]]]
        return numbers if len(numbers) <= LENGTH else [*numbers[: LENGTH - 1], vocab[SPECIAL[1]]]

    return ids


def _letters(word: str) -> list[str]:
    return [*word[:-1], f"{word[-1]}</w>"]
