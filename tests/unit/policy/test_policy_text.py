"""Text encoders one after the other: the same embeddings as the pipelines' own, and never two encoders in memory."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusion3Pipeline
from transformers import PreTrainedModel

from advantageflow.errors import PolicyError
from advantageflow.policy import text
from advantageflow.policy.text import encode_prompts, encode_texts
from advantageflow.settings import ModelSettings
from advantageflow.shapes.architecture import build_pipeline

TEXTS = ["", "a red circle", "two blue stars and a star with very many words", "a"]


@pytest.fixture(scope="module")
def sd3_without_t5(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd3-without-t5")
    pipeline = build_pipeline()
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    pipeline.save_pretrained(folder)
    return ModelSettings(name=str(folder), max_sequence_length=9)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> ModelSettings:
    if request.param == "embedded":
        return ModelSettings()
    settings: ModelSettings = request.getfixturevalue(request.param)
    return settings


def by_the_pipeline(model: ModelSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """What diffusers' own pipeline encodes."""
    from advantageflow.policy.location import model_location

    place, dtype = model_location(model), getattr(torch, model.dtype)
    options: dict[str, Any] = {"max_sequence_length": model.max_sequence_length}
    with torch.no_grad():
        if "flux" in model.name:
            flux = FluxPipeline.from_pretrained(place, dtype=dtype)
            return flux.encode_prompt(TEXTS, **options)[:2]
        absent = {} if (Path(place) / "text_encoder_3").exists() else {"text_encoder_3": None, "tokenizer_3": None}
        sd3 = StableDiffusion3Pipeline.from_pretrained(place, dtype=dtype, **absent)
        prompt, _, pooled, _ = sd3.encode_prompt(TEXTS, None, None, do_classifier_free_guidance=False, **options)
        return prompt, pooled


@pytest.mark.parametrize(
    ("model", "dtype"),
    [("embedded", "float32"), ("sd3_without_t5", "bfloat16"), ("dev", "float32"), ("dev", "bfloat16")],
    indirect=["model"],
)
def test_embeddings_are_exactly_the_pipelines(model: ModelSettings, dtype: str) -> None:
    model = model.model_copy(update={"dtype": dtype})
    expected = by_the_pipeline(model)
    for ours, theirs in zip(encode_prompts(model, TEXTS).tensors.values(), expected, strict=True):
        assert ours.dtype == getattr(torch, dtype)
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("model", ["embedded", "dev"], indirect=True)
def test_at_most_one_encoder_is_in_memory(model: ModelSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[PreTrainedModel]] = []
    names: list[str] = []
    load = text.load_encoder

    def watched(settings: ModelSettings, part: str) -> PreTrainedModel:
        assert not [one for one in loaded if one() is not None]
        encoder: PreTrainedModel = load(settings, part)
        loaded.append(weakref.ref(encoder))
        names.append(part)
        return encoder

    monkeypatch.setattr(text, "load_encoder", watched)
    encode_prompts(model, TEXTS)
    assert not [one for one in loaded if one() is not None]
    assert names == sorted(set(names))
    assert len(names) == (2 if "flux" in model.name else 3)


def test_progress_counts_every_encoder(dev: ModelSettings) -> None:
    seen: list[tuple[int, int]] = []
    encode_texts(dev, TEXTS, lambda done, total: seen.append((done, total)))
    assert seen == [(4, 8), (8, 8)]


def test_texts_that_are_cut_are_told(dev: ModelSettings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encode_prompts(dev, TEXTS)
    told = [record.getMessage() for record in caplog.records if "cut" in record.getMessage()]
    assert len(told) == 2
    assert "text_encoder reads the first 12 tokens of a text only: 1 of 4 texts are cut" in told[0]
    assert "two blue stars" in told[0]


def test_an_encoder_that_the_family_needs_is_missed_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = build_pipeline()
    pipeline.register_modules(text_encoder_2=None, tokenizer_2=None)
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(PolicyError, match="no text_encoder_2"):
        encode_prompts(ModelSettings(name=str(tmp_path)), TEXTS)
