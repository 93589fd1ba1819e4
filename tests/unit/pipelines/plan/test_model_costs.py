"""What a model costs: parameters of its configuration, operations as a real run has them, memory that adds up."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig, CLIPModel

from advantageflow.policy.configs import find_configs
from advantageflow.policy.loading import load_transformer, load_vae
from advantageflow.policy.text import encode_prompts
from advantageflow.settings import LoraSettings, ModelSettings, RunSettings, TrainingSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.plan import model_costs
from advantageflow_pipelines.plan.counts import Counts, counts_of, kept_counts
from advantageflow_pipelines.plan.estimate import gpu_memory, needed_memory
from advantageflow_pipelines.plan.model_costs import count, encoding_memory, operations
from advantageflow_pipelines.plan.skeleton import META, Skeleton, make_skeleton, parameters
from advantageflow_pipelines.plan.weights import CLIP_H_COST, CLIP_L_COST

MODEL = ModelSettings()  # the embedded one: all of Stable Diffusion 3's parts, small
RANK, TARGETS = 4, ("attn.to_q", "attn.to_k")


def of_run(**training: object) -> RunSettings:
    """A run of the embedded model on so small adapters."""
    lora = LoraSettings(rank=RANK, alpha=RANK, targets=TARGETS)
    return RunSettings(model=MODEL, training=TrainingSettings(lora=lora, microbatch=8).model_copy(update=training))


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return make_skeleton(MODEL)


@pytest.fixture(scope="module")
def counts(skeleton: Skeleton) -> Counts:
    return counts_of(of_run(), count(skeleton, TARGETS, (RANK,), (skeleton.sizes.usual,)))


def test_parameters_are_those_of_the_real_parts(counts: Counts) -> None:
    found = counts.parameters
    assert found["transformer"] == parameters(load_transformer(MODEL))
    assert found["vae"] == parameters(load_vae(MODEL))
    width, layers = 128, 5
    assert found["adapter"] == layers * 2 * RANK * (width + width)
    assert set(found) > {"text_encoder", "text_encoder_2", "text_encoder_3"}


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
    sizes = make_skeleton(model)
    assert parameters(sizes.transformer()) / 1e9 == pytest.approx(billions, abs=0.01)
    assert sum(map(parameters, sizes.encoders.values())) / 1e9 == pytest.approx(text_billions, abs=0.01)
    assert sizes.sizes.usual * sizes.sizes.pixels == 1024
    assert sizes.sizes.shape(512) == ((16, 1, 64, 64) if name == "Qwen-Image" else (16, 64, 64))


def test_operations_are_those_of_a_real_forward_pass(skeleton: Skeleton, counts: Counts) -> None:
    counted = counts.one
    told = encode_prompts(MODEL, ["a red circle"]).tensors
    transformer, vae = load_transformer(MODEL), load_vae(MODEL)
    latents = torch.randn(1, *skeleton.sizes.shape(None))
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        transformer(latents, told["prompt_embeds"], told["pooled"], torch.ones(1))
    with torch.no_grad(), FlopCounterMode(display=False) as decode:
        vae.decode(latents)
    adapters = counted.forward - forward.get_total_flops()
    image, width = 9, 128
    assert adapters == 5 * 2 * 2 * image * RANK * (width + width), "of the image stream's two projections"
    assert counted.decode == decode.get_total_flops()
    assert 1.5 < counted.training / counted.forward < 3
    assert all(value > 0 for value in counts.model.encode.values())


def test_what_is_known_of_clip_is_what_counting_gives() -> None:
    """CLIPConfig of openai/clip-vit-large-patch14 and of laion/CLIP-ViT-H-14."""
    for known, (vision, layers, text, text_layers, projection) in {
        CLIP_L_COST: (1024, 24, 768, 12, 768), CLIP_H_COST: (1280, 32, 1024, 24, 1024),
    }.items():  # fmt: skip
        sizes = {"num_attention_heads": 16, "patch_size": 14, "image_size": 224}
        config = CLIPConfig(
            vision_config={"hidden_size": vision, "intermediate_size": 4 * vision, "num_hidden_layers": layers} | sizes,
            text_config={"hidden_size": text, "intermediate_size": 4 * text, "num_hidden_layers": text_layers,
                         "num_attention_heads": text // 64},
            projection_dim=projection,
        )  # fmt: skip
        with META:
            model = CLIPModel(config).eval()
            seen = {"input_ids": torch.zeros(1, 77, dtype=torch.long), "pixel_values": torch.empty(1, 3, 224, 224)}
        assert (operations(lambda model=model, seen=seen: model(**seen)), parameters(model)) == known


def test_training_memory_has_every_tensor_that_stays(counts: Counts) -> None:
    adapter, parts = counts.parameters["adapter"], counts.training(of_run())
    real = load_transformer(MODEL)
    weights = [*real.parameters(), *real.buffers()]
    assert parts["base weights"] == sum(value.numel() * value.element_size() for value in weights)
    assert [parts[name] for name in ("adapters", "gradients", "optimiser moments")] == [
        2 * 4 * adapter, 4 * adapter, 2 * 4 * adapter,
    ]  # fmt: skip


def test_a_gpu_has_room_for_what_a_stage_allocates_and_for_cuda_itself() -> None:
    settings = choose_settings(preset="tiny", assignments=["model.device=cuda"])
    needed = gpu_memory(settings)
    rollout, told = settings.rollout, encode_prompts(MODEL, ["a"])
    data = rollout.prompts_per_round * (rollout.group_size * 4 * 8 * 6 * 6 + told.nbytes)
    known = kept_counts(settings, find_configs(MODEL)[0], lambda: pytest.fail("it is shipped"))
    allocated = counts_of(settings, known).training(settings)
    assert needed["training"] == needed_memory({**allocated, "round's data": data}) > 1e9 + data
    assert needed["reward"] == 0


def test_activations_grow_with_the_microbatch_and_shrink_by_recomputing(counts: Counts) -> None:
    def activations(**changes: object) -> int:
        return counts.training(of_run(**changes))["activations"]

    assert activations(microbatch=16) == pytest.approx(2 * activations(), rel=0.05)
    assert activations(gradient_checkpointing=True) < 0.5 * activations()


def test_large_adapters_take_more_than_the_activations_of_few_samples() -> None:
    lora = LoraSettings(rank=512, alpha=512, targets=TARGETS)
    run = of_run(lora=lora, microbatch=1).model_copy(update={"model": MODEL.model_copy(update={"dtype": "bfloat16"})})
    skeleton = make_skeleton(run.model)
    height = skeleton.sizes.usual
    inputs = skeleton.inputs(1, height)
    peak = model_costs.training_peak(skeleton.policy(lora), inputs) + model_costs.tensor_bytes(
        model_costs.given_tensors(inputs)
    )
    found = counts_of(run, count(skeleton, TARGETS, (512,), (height,))).training(run)["activations"]
    assert found == pytest.approx(peak, rel=1e-3)


def test_generating_takes_memory_by_the_image(counts: Counts) -> None:
    one, two = (counts.generation(of_run(), batch, guided=False) for batch in (4, 8))
    assert two["activations"] == pytest.approx(2 * one["activations"], rel=0.05)
    assert two["base weights"] == one["base weights"]
    guided = counts.generation(of_run(), 4, guided=True)
    assert sum(guided.values()) >= sum(one.values())


def test_each_text_encoder_counts_alone(skeleton: Skeleton) -> None:
    memory = encoding_memory(skeleton)
    assert list(memory) == ["text_encoder", "text_encoder_2", "text_encoder_3"]
    assert all(one["text encoder"] > 0 and one["activations"] > 0 for one in memory.values())


def test_a_model_without_t5_has_no_third_encoder_and_as_many_tokens(skeleton: Skeleton) -> None:
    parts = {name: config for name, config in skeleton.configs.parts.items() if name != "text_encoder_3"}
    without = dataclasses.replace(skeleton, configs=dataclasses.replace(skeleton.configs, parts=parts))
    assert list(without.encoders) == ["text_encoder", "text_encoder_2"]
    assert without.conditioning.nbytes == skeleton.conditioning.nbytes, "zeros stand for T5's tokens"
