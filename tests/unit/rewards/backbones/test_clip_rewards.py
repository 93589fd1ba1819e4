"""PickScore, CLIPScore and the aesthetic score of a tiny CLIP, against what its towers give by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPModel

from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.aesthetic import AestheticReward
from advantageflow.rewards.clipscore import ClipScoreReward
from advantageflow.rewards.pickscore import PickScoreReward
from advantageflow.rewards.plumbing.checks import score_images

TokenIds = Callable[[str], list[int]]
SIDE = 28


@pytest.fixture(scope="module")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aesthetic head in the published layout, with its published widths behind a tiny embedding."""
    torch.manual_seed(5)
    widths = (24, 1024, 128, 64, 16, 1)
    state = {}
    for number, before, after in zip((0, 2, 4, 6, 7), widths, widths[1:], strict=False):
        state[f"layers.{number}.weight"] = torch.randn(after, before) / before**0.5
        state[f"layers.{number}.bias"] = torch.randn(after)
    path = tmp_path_factory.mktemp("head") / "sac+logos+ava1-l14-linearMSE.pth"
    torch.save(state, path)
    return path


def values(reward: Any, prompts: list[Prompt], images: list[np.ndarray]) -> list[float]:
    samples = [str(number) for number in range(len(images))]
    return [result["score"] for result, _ in score_images(reward, prompts, images, samples)]


def pixels(image: np.ndarray) -> torch.Tensor:
    """Shorter side to SIDE, centre cut, normalised."""
    picture = Image.fromarray(image)
    shorter = min(picture.size)
    size = [int(SIDE * length / shorter) for length in picture.size]
    array = np.asarray(picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)) / 255
    top, left = (array.shape[0] - SIDE) // 2, (array.shape[1] - SIDE) // 2
    square = array[top : top + SIDE, left : left + SIDE]
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return torch.tensor(((square - mean) / std).transpose(2, 0, 1), dtype=torch.float32)[None]


@torch.no_grad()
def cosine(model: CLIPModel, ids: list[int], image: np.ndarray) -> float:
    """From the towers themselves: class token, and last token of the prompt without any padding."""
    seen = model.visual_projection(
        model.vision_model.post_layernorm(model.vision_model(pixels(image)).last_hidden_state[:, 0])
    )
    read = model.text_projection(model.text_model(torch.tensor([ids])).last_hidden_state[:, -1])
    return float((seen * read).sum() / seen.norm() / read.norm())


def test_pickscore_is_the_scaled_cosine_of_each_pair_over_26(
    clip_folder: Path, tokenizer_folder: Path, images: list[np.ndarray], prompts: list[Prompt], token_ids: TokenIds
) -> None:
    reward = PickScoreReward(model=str(clip_folder), processor=str(tokenizer_folder), batch=2)
    model = CLIPModel.from_pretrained(clip_folder)
    expected = [
        model.logit_scale.detach().exp().item() * cosine(model, token_ids(prompt.text), image) / 26
        for prompt, image in zip(prompts, images, strict=True)
    ]
    assert values(reward, prompts, images) == pytest.approx(expected, abs=1e-5)
    assert np.std(expected) > 0.005


def test_clipscore_is_the_pairs_logit_over_100(
    clip_folder: Path, images: list[np.ndarray], prompts: list[Prompt], token_ids: TokenIds
) -> None:
    reward = ClipScoreReward(model=str(clip_folder), batch=3)
    model = CLIPModel.from_pretrained(clip_folder)
    with torch.no_grad():
        expected = [
            model(input_ids=torch.tensor([token_ids(p.text)]), pixel_values=pixels(i)).logits_per_image.item() / 100
            for p, i in zip(prompts, images, strict=True)
        ]
    assert values(reward, prompts, images) == pytest.approx(expected, abs=1e-6)


def test_the_aesthetic_score_is_the_head_on_the_unit_embedding(
    clip_folder: Path, head_file: Path, images: list[np.ndarray], prompts: list[Prompt]
) -> None:
    reward = AestheticReward(model=str(clip_folder), head=str(head_file), batch=2)
    model, state = CLIPModel.from_pretrained(clip_folder), torch.load(head_file, weights_only=True)
    expected = []
    for image in images:
        with torch.no_grad():
            embedding = model.get_image_features(pixels(image)).pooler_output[0]
        value = embedding / embedding.norm()
        for number in (0, 2, 4, 6, 7):
            value = state[f"layers.{number}.weight"] @ value + state[f"layers.{number}.bias"]
        expected.append(value.item())
    assert values(reward, prompts, images) == pytest.approx(expected, abs=1e-4)
    assert np.std(expected) > 0.005


def test_a_safetensors_head_scores_as_the_published_one_and_is_preferred(
    clip_folder: Path, head_file: Path, images: list[np.ndarray], prompts: list[Prompt], tmp_path: Path
) -> None:
    save_file(torch.load(head_file, weights_only=True), tmp_path / head_file.with_suffix(".safetensors").name)
    (tmp_path / head_file.name).write_bytes(b"not read")
    by_file, by_folder = (AestheticReward(model=str(clip_folder), head=str(p)) for p in (head_file, tmp_path))
    assert values(by_folder, prompts, images) == values(by_file, prompts, images)
    assert by_folder.version == by_file.version


def test_a_head_of_another_layout_is_named(clip_folder: Path, tmp_path: Path, head_file: Path) -> None:
    state = torch.load(head_file, weights_only=True)
    state["layers.1.weight"] = state.pop("layers.2.weight")
    save_file(state, tmp_path / "head.safetensors")
    with pytest.raises(RewardError, match=r"layers\.1\.weight is not in both") as caught:
        _ = AestheticReward(model=str(clip_folder), head=str(tmp_path / "head.safetensors")).version
    assert "option head" in caught.value.where


Make = Callable[[Path, Path], Any]
REWARDS: dict[str, Make] = {
    "pickscore": lambda clip, head: PickScoreReward(model=str(clip), processor=str(clip), batch=2),
    "clipscore": lambda clip, head: ClipScoreReward(model=str(clip), batch=2),
    "aesthetic": lambda clip, head: AestheticReward(model=str(clip), head=str(head), batch=2),
}


@pytest.mark.parametrize("make", REWARDS.values(), ids=REWARDS.keys())
def test_neighbours_and_repetition_change_nothing(
    clip_folder: Path, head_file: Path, images: list[np.ndarray], prompts: list[Prompt], make: Make
) -> None:
    reward = make(clip_folder, head_file)
    together = values(reward, prompts, images)
    assert values(make(clip_folder, head_file), prompts, images) == together
    alone = [values(reward, [prompt], [image])[0] for prompt, image in zip(prompts, images, strict=True)]
    assert alone == pytest.approx(together, abs=1e-5)
    backwards = values(reward, prompts[::-1], images[::-1])[::-1]
    assert backwards == pytest.approx(together, abs=1e-5)


def test_details_say_how_much_of_a_prompt_was_cut(
    clip_folder: Path, images: list[np.ndarray], prompts: list[Prompt]
) -> None:
    results = ClipScoreReward(model=str(clip_folder)).score(prompts, images)
    assert [details for _, details in results] == [{"tokens_cut": cut} for cut in (0, 0, 0, 0, 41 - 20)]
    end = Prompt(prompts[-1].text + " and more", "train", "all")
    alone = values(ClipScoreReward(model=str(clip_folder)), [end], images[-1:])
    assert alone == pytest.approx([results[-1][0]["score"]], abs=1e-6)


def test_no_images_give_no_scores(clip_folder: Path, head_file: Path) -> None:
    for make in REWARDS.values():
        assert make(clip_folder, head_file).score([], []) == []


def test_what_is_no_rgb_image_names_the_sample(clip_folder: Path, images: list[np.ndarray]) -> None:
    prompts = [Prompt("a cat", "train", "all")] * 2
    with pytest.raises(RewardError, match="expected an RGB image") as caught:
        score_images(ClipScoreReward(model=str(clip_folder)), prompts, [images[0], images[0][..., :1]], ["a", "b"])
    assert "sample b" in caught.value.where


def test_lower_precision_scores_alike_with_a_scale_in_full_precision(
    clip_folder: Path, images: list[np.ndarray], prompts: list[Prompt]
) -> None:
    full, half = (ClipScoreReward(model=str(clip_folder), dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert values(half, prompts, images) == pytest.approx(values(full, prompts, images), abs=0.02)
    assert half._parts[3] == full._parts[3]
    assert half.version.replace("bfloat16", "float32") == full.version


def test_other_weights_give_another_version(clip_folder: Path, tmp_path: Path) -> None:
    model = CLIPModel.from_pretrained(clip_folder)
    with torch.no_grad():
        model.logit_scale += 1e-3
    for path in clip_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = ClipScoreReward(model=str(clip_folder)).version
    assert ClipScoreReward(model=str(tmp_path)).version == before
    model.save_pretrained(tmp_path)
    assert ClipScoreReward(model=str(tmp_path)).version != before
