"""What a model costs: parameters of its configuration, operations as a real run has them, memory that adds up."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from advantageflow.policy.configs import model_configs
from advantageflow.policy.loading import load_transformer, load_vae
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import LoraSettings, ModelSettings, TrainingSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.plan.counts import counted_alone
from advantageflow_pipelines.plan.estimate import gpu_memory, needed_memory
from advantageflow_pipelines.plan.model_costs import (
    count_operations,
    count_parameters,
    encoding_memory,
    generation_memory,
    training_memory,
)
from advantageflow_pipelines.plan.skeleton import Skeleton, make_skeleton, parameters

MODEL = ModelSettings()  # the embedded one: all of Stable Diffusion 3's parts, small
TRAINING = TrainingSettings(microbatch=8, lora=LoraSettings(rank=4, alpha=4, targets=("attn.to_q", "attn.to_k")))


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return make_skeleton(MODEL, model_configs(MODEL))


def test_parameters_are_those_of_the_real_parts(skeleton: Skeleton) -> None:
    counts = count_parameters(skeleton, TRAINING)
    assert counts["transformer"] == parameters(load_transformer(MODEL))
    assert counts["vae"] == parameters(load_vae(MODEL))
    width, layers = 128, 5
    assert counts["adapter"] == layers * 2 * TRAINING.lora.rank * (width + width)
    assert set(counts) > {"text_encoder", "text_encoder_2", "text_encoder_3"}


@pytest.mark.parametrize(
    ("name", "billions", "text_billions"),
    [
        ("stable-diffusion-3.5-medium", 2.24, 5.58),
        ("stable-diffusion-3.5-large", 8.06, 5.58),
        ("FLUX.1-dev", 11.90, 4.89),
        ("FLUX.1-schnell", 11.89, 4.89),
        ("Qwen-Image", 20.43, 8.29),
        ("Z-Image-Turbo", 6.15, 4.02),
    ],
)
def test_known_models_have_their_published_sizes(name: str, billions: float, text_billions: float) -> None:
    """Medium is 2.5 billion in its announcement, which counts its position table (0.23) too."""
    model = ModelSettings(name=name, dtype="bfloat16")
    sizes = make_skeleton(model, model_configs(model))
    assert parameters(sizes.transformer()) / 1e9 == pytest.approx(billions, abs=0.01)
    assert sum(parameters(build()) for build in sizes.encoders().values()) / 1e9 == pytest.approx(
        text_billions, abs=0.01
    )
    assert sizes.image_size == 1024
    smaller = model.model_copy(update={"image_size": 512})
    shape = make_skeleton(smaller, model_configs(smaller)).latents
    assert shape == ((16, 1, 64, 64) if name == "Qwen-Image" else (16, 64, 64))


def test_operations_are_those_of_a_real_forward_pass(skeleton: Skeleton) -> None:
    counted = count_operations(skeleton, TRAINING)
    told = encode_prompts(MODEL, ["a red circle"]).tensors
    transformer, vae = load_transformer(MODEL), load_vae(MODEL)
    latents = torch.randn(1, *skeleton.latents)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        transformer(latents, told["prompt_embeds"], told["pooled"], torch.ones(1))
    with torch.no_grad(), FlopCounterMode(display=False) as decode:
        vae.decode(latents)
    adapters = counted.velocity.forward - forward.get_total_flops()
    image, width, rank = 9, 128, TRAINING.lora.rank
    assert adapters == 5 * 2 * 2 * image * rank * (width + width), "of the image stream's two projections"
    assert counted.decode == decode.get_total_flops()
    assert 1.5 < counted.velocity.training / counted.velocity.forward < 3
    assert all(value > 0 for value in counted.encode.values())


def test_training_memory_has_every_tensor_that_stays(skeleton: Skeleton) -> None:
    adapter = count_parameters(skeleton, TRAINING)["adapter"]
    parts = training_memory(skeleton, TRAINING)
    real = load_transformer(MODEL)
    weights = [*real.parameters(), *real.buffers()]
    assert parts["base weights"] == sum(value.numel() * value.element_size() for value in weights)
    assert [parts[name] for name in ("adapters", "gradients", "optimiser moments")] == [
        2 * 4 * adapter, 4 * adapter, 2 * 4 * adapter,
    ]  # fmt: skip


def test_a_gpu_has_room_for_what_a_stage_allocates_and_for_cuda_itself(skeleton: Skeleton) -> None:
    settings = choose_settings(preset="tiny", config=None, assignments=["model.device=cuda"], rounds=None, seed=None,
                               init_policy=None, pipeline=None)  # fmt: skip
    needed = gpu_memory(settings)
    rollout, told = settings.rollout, encode_prompts(MODEL, ["a"])
    data = rollout.prompts_per_round * (rollout.group_size * 4 * 8 * 6 * 6 + told.nbytes)
    allocated = training_memory(skeleton, counted_alone(settings).training)
    assert needed["training"] == needed_memory({**allocated, "round's data": data}) > 1e9 + data
    assert needed["reward"] == 0


def test_activations_grow_with_the_microbatch_and_shrink_by_recomputing(skeleton: Skeleton) -> None:
    def activations(**changes: object) -> int:
        training = TRAINING.model_copy(update=changes)
        return training_memory(skeleton, training)["activations"]

    assert activations(microbatch=16) == pytest.approx(2 * activations(), rel=0.05)
    assert activations(gradient_checkpointing=True) < 0.5 * activations()


def test_generating_takes_memory_by_the_image(skeleton: Skeleton) -> None:
    one, two = (generation_memory(skeleton, TRAINING, batch, guided=False) for batch in (4, 8))
    assert two["activations"] == pytest.approx(2 * one["activations"], rel=0.05)
    assert two["base weights"] == one["base weights"]
    guided = generation_memory(skeleton, TRAINING, 4, guided=True)
    assert sum(guided.values()) >= sum(one.values())


def test_each_text_encoder_counts_alone(skeleton: Skeleton) -> None:
    memory = encoding_memory(skeleton)
    assert list(memory) == ["text_encoder", "text_encoder_2", "text_encoder_3"]
    assert all(one["text encoder"] > 0 and one["activations"] > 0 for one in memory.values())


def test_a_model_without_t5_has_no_third_encoder_and_as_many_tokens(skeleton: Skeleton) -> None:
    parts = {name: config for name, config in skeleton.configs.parts.items() if name != "text_encoder_3"}
    without = make_skeleton(MODEL, dataclasses.replace(skeleton.configs, parts=parts))
    assert list(without.encoders()) == ["text_encoder", "text_encoder_2"]
    assert without.conditioning.nbytes == skeleton.conditioning.nbytes, "zeros stand for T5's tokens"
