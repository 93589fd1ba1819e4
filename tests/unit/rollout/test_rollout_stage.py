"""The rollout stage: whole groups, the same images for any number of shards, by the rollout policy."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rolled_out import outputs_in

from advantageflow.errors import PolicyError, SettingsError
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.families.stable_diffusion_3 import StableDiffusion3
from advantageflow.policy.generate import load_generator
from advantageflow.policy.loading import load_transformer
from advantageflow.records import Prompt, derive_seed
from advantageflow.rollout.selection import select_prompts
from advantageflow.rollout.stage import encode_png, run
from advantageflow.settings import EvaluationSettings, LoraSettings, ModelSettings, RolloutSettings
from advantageflow.store.conditioning import open_conditioning
from advantageflow.store.files import publish, read_metadata, read_tensors, write_json, write_tensors
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompts import read_prompts
from advantageflow.store.rollouts import read_images, read_index, read_latents
from advantageflow.tracking.events import read_events
from advantageflow.tracking.journal import stage_journal

SETTINGS = RolloutSettings(prompts_per_round=5, group_size=3, steps=2, batch_groups=2, shards=1, threads=1)
Images = dict[str, tuple[bytes, bytes]]


@pytest.fixture
def arguments(model: ModelSettings, prompts: Path, conditioning: Path, base_policy: Path) -> dict[str, Any]:
    return {
        "settings": SETTINGS,
        "model": model,
        "seed": 3,
        "round_index": 1,
        "prompts": prompts,
        "conditioning": conditioning,
        "rollout_policy": base_policy,
    }


def images_of(folder: Path, shards: int, **arguments: Any) -> Images:
    """PNG and latent bytes by rollout id, of all shards of a round."""
    settings = arguments.pop("settings").model_copy(update={"shards": shards})
    images: Images = {}
    for shard in range(shards):
        out = folder / f"{shard}-of-{shards}"
        run(settings, **arguments, shard=shard, **outputs_in(out))
        rollouts = list(read_images(out / "rollouts"))
        assert [rollout for rollout, _ in rollouts] == read_index(out / "latents")
        latents = read_latents(out / "latents", rows=len(rollouts))
        assert images.keys().isdisjoint(rollout.rollout_id for rollout, _ in rollouts)
        images |= {
            rollout.rollout_id: (image, latent.numpy().tobytes())
            for (rollout, image), latent in zip(rollouts, latents, strict=True)
        }
    return images


def test_a_run_that_continues_another_draws_what_one_long_run_would_have_drawn(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    """The same prompts and noise as in round 3, not those of round 1 again; only the rollouts' names say round 1."""
    continued = tmp_path / "continued"
    shutil.copytree(arguments["rollout_policy"], continued)
    read_policy_state(continued).model_copy(update={"rounds_before": 2}).write(continued)

    def unnumbered(images: Images) -> Images:
        return {rollout_id.partition("-")[2]: image for rollout_id, image in images.items()}

    second_run = images_of(tmp_path / "a", 1, **{**arguments, "rollout_policy": continued})
    assert {rollout_id.partition("-")[0] for rollout_id in second_run} == {"1"}
    long_run = images_of(tmp_path / "b", 1, **{**arguments, "round_index": 3})
    assert unnumbered(second_run) == unnumbered(long_run)
    assert unnumbered(second_run) != unnumbered(images_of(tmp_path / "c", 1, **arguments))


def test_any_number_of_shards_makes_the_same_images_bit_for_bit(tmp_path: Path, arguments: dict[str, Any]) -> None:
    whole = images_of(tmp_path, 1, **arguments)
    assert len(whole) == 5 * 3
    assert images_of(tmp_path, 2, **arguments) == whole
    assert images_of(tmp_path, 5, **arguments) == whole  # 3 chunks: two of the shards are empty


def test_a_shard_beyond_the_chunks_is_empty_but_whole(tmp_path: Path, arguments: dict[str, Any]) -> None:
    settings = SETTINGS.model_copy(update={"shards": 5})
    run(**{**arguments, "settings": settings}, shard=4, **outputs_in(tmp_path / "empty"))
    assert list(read_images(tmp_path / "empty" / "rollouts")) == read_index(tmp_path / "empty" / "latents") == []
    assert read_latents(tmp_path / "empty" / "latents", rows=0).shape == (0, 8, 6, 6)


def test_groups_are_whole_and_seeds_are_those_of_the_rollouts(
    tmp_path: Path, arguments: dict[str, Any], train: list[Prompt]
) -> None:
    run(**arguments, shard=0, **outputs_in(tmp_path / "out"))
    rollouts = read_index(tmp_path / "out" / "latents")
    chosen = select_prompts(3, 1, train, 5)
    assert [rollout.prompt_id for rollout in rollouts] == [prompt.prompt_id for prompt in chosen for _ in range(3)]
    assert Counter(rollout.index for rollout in rollouts) == {0: 5, 1: 5, 2: 5}
    assert all(r.seed == derive_seed(3, 1, r.prompt_id, r.index) for r in rollouts)
    assert {rollout.round for rollout in rollouts} == {1}


def test_the_images_are_those_that_the_latents_decode_to(
    tmp_path: Path, arguments: dict[str, Any], model: ModelSettings, base_policy: Path, prompts: Path
) -> None:
    run(**arguments, shard=0, **outputs_in(tmp_path / "out"))
    rollout, image = next(read_images(tmp_path / "out" / "rollouts"))
    picture = np.asarray(Image.open(io.BytesIO(image)))
    assert (picture.shape, picture.dtype) == ((48, 48, 3), np.uint8)
    known = read_prompts(prompts)
    row = [prompt.prompt_id for prompt in known].index(rollout.prompt_id)
    told = open_conditioning(arguments["conditioning"], known).rows([row])
    how = EvaluationSettings(steps=2, sampler="ab2")
    latents, images, _ = load_generator(model, base_policy, "rollout_policy", 1).images(told, [rollout.seed], how)
    assert torch.allclose(latents[0], read_latents(tmp_path / "out" / "latents")[0], atol=1e-4)
    assert np.abs(images[0].astype(int) - picture).max() <= 1


def test_guidance_reaches_the_sampler(tmp_path: Path, arguments: dict[str, Any]) -> None:
    guided = SETTINGS.model_copy(update={"guidance_scale": 4.0})
    assert images_of(tmp_path / "a", 1, **arguments) != images_of(
        tmp_path / "b", 1, **{**arguments, "settings": guided}
    )


def test_the_rollout_policy_generates_not_the_policy(
    tmp_path: Path, arguments: dict[str, Any], tuned_policy: Path
) -> None:
    """The tuned policy's 'policy' adapter changes nothing, so only the rollout policy can make a difference."""
    base = images_of(tmp_path / "base", 1, **arguments)
    tuned = images_of(tmp_path / "tuned", 1, **{**arguments, "rollout_policy": tuned_policy})
    assert base.keys() == tuned.keys()
    assert all(base[name] != tuned[name] for name in base)


def test_the_artifact_names_its_policy_and_shard(tmp_path: Path, arguments: dict[str, Any], tuned_policy: Path) -> None:
    run(**{**arguments, "rollout_policy": tuned_policy}, shard=0, **outputs_in(tmp_path / "out"))
    sha256 = read_policy_state(tuned_policy).policy_sha256
    expected = {"round": 1, "shard": 0, "shards": 1, "policy_sha256": sha256, "rollouts": 15}
    assert sha256
    assert read_metadata(tmp_path / "out" / "rollouts") == expected
    assert read_metadata(tmp_path / "out" / "latents") == {**expected, "noise_levels": [1.0, 0.5]}


def test_the_journal_tells_progress_in_images(
    tmp_path: Path, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(tmp_path / "journal"))
    with stage_journal("rollout", 1, 0):
        run(**arguments, shard=0, **outputs_in(tmp_path / "out"))
    events = read_events(tmp_path / "journal")
    kinds = [event["event"] for event in events]
    assert kinds.index("useful") < kinds.index("progress")
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["done"], last["total"], last["unit"]) == (15, 15, "images")


@pytest.mark.parametrize("shard", [-1, 1])
def test_a_shard_that_does_not_exist_is_refused(tmp_path: Path, arguments: dict[str, Any], shard: int) -> None:
    with pytest.raises(SettingsError, match=f"no shard {shard} of 1"):
        run(**arguments, shard=shard, **outputs_in(tmp_path / "out"))


@pytest.mark.parametrize(("factor", "message"), [(float("nan"), "not finite"), (2.0, "_sha256")])
def test_a_policy_of_other_weights_is_refused_by_its_file_and_nothing_is_written(
    tmp_path: Path, arguments: dict[str, Any], tuned_policy: Path, factor: float, message: str
) -> None:
    shutil.copytree(tuned_policy, tmp_path / "policy")
    weights = tmp_path / "policy" / "rollout_policy" / "adapter_model.safetensors"
    write_tensors(weights, {name: tensor * factor for name, tensor in read_tensors(weights).items()})
    with pytest.raises(PolicyError, match=message) as caught:
        run(**{**arguments, "rollout_policy": tmp_path / "policy"}, shard=0, **outputs_in(tmp_path / "out"))
    assert caught.value.where == str(weights)
    assert not (tmp_path / "out").exists()


def test_a_diverged_policy_is_named_by_its_first_rollout_and_writes_nothing(
    tmp_path: Path, arguments: dict[str, Any], model: ModelSettings, base_policy: Path
) -> None:
    adapters = attach_adapters(load_transformer(model), base_policy, LoraSettings(rank=2), 0, StableDiffusion3())
    for parameter in adapters.named_parameters("rollout_policy").values():
        parameter.data = torch.full(parameter.shape, 1e30)
    with publish(tmp_path / "policy") as broken:
        adapters.save(broken, read_policy_state(base_policy), model)
    with pytest.raises(PolicyError, match="its latent is not finite") as caught:
        run(**{**arguments, "rollout_policy": tmp_path / "policy"}, shard=0, **outputs_in(tmp_path / "out"))
    assert caught.value.where.startswith("rollout 1-")
    assert not any((tmp_path / "out").iterdir())


def test_a_corrupt_policy_is_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    write_json(tmp_path / "state.json", {"round": 1})
    with pytest.raises(PolicyError, match="not a policy"):
        run(**{**arguments, "rollout_policy": tmp_path}, shard=0, **outputs_in(tmp_path / "out"))


def test_png_is_lossless() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(image)))), image)
