"""Tiny models of the detector's and the colour classifier's own classes, with random weights, as local folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    PreTrainedTokenizerFast,
    SwinConfig,
)

from advantageflow.rewards.geneval.spec import CLASSES, COLORS

CLIP_SIDE = 32  # pixels


def mask2former(classes: int) -> Mask2FormerForUniversalSegmentation:
    backbone = SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=7,
        num_labels=classes,
    )  # fmt: skip
    torch.manual_seed(0)
    return Mask2FormerForUniversalSegmentation(config)


@pytest.fixture(scope="session")
def detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that is sure of something: its class logits are scaled up, as training would."""
    folder = tmp_path_factory.mktemp("mask2former")
    model = mask2former(len(CLASSES))
    with torch.no_grad():
        model.class_predictor.weight.mul_(60)
        model.class_predictor.bias[-1] = -100  # every query is an object
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def other_detector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of other classes than COCO's."""
    folder = tmp_path_factory.mktemp("ade20k")
    mask2former(classes=100).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [*(word for name in CLASSES for word in name.split()), *COLORS, *(f"{one}-colored" for one in COLORS)]
    words = ["<pad>", "<unk>", "<bos>", "<eos>", *dict.fromkeys([*words, "a", "photo", "of", "object"])]
    tokens = {token: number for number, token in enumerate(words)}
    core = Tokenizer(models.WordLevel(tokens, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", tokens["<bos>"]), ("<eos>", tokens["<eos>"])]
    )
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, projection_dim=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=12, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, projection_dim=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=CLIP_SIDE, patch_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    model = CLIPModel(config)
    for embedding in (model.text_model.embeddings.token_embedding, model.vision_model.embeddings.patch_embedding):
        torch.nn.init.normal_(embedding.weight, std=0.5)  # with the usual 0.02 all inputs are nearly alike
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    ).save_pretrained(folder)
    return folder
