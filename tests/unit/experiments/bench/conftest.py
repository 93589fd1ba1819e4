"""A benchmark at the true model's classes, a thousandth of its size."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from advantageflow_experiments.bench.embedded import Bench
from advantageflow_experiments.bench.true_shape import SD35_MEDIUM, Shape, true_shape_bench
from advantageflow_experiments.bench.workload import Workload

_CLIP = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "vocab_size": 99, "max_position_embeddings": 5}  # fmt: skip
_CHANGES: dict[str, dict[str, Any]] = {
    "transformer": {
        "sample_size": 8, "in_channels": 4, "out_channels": 4, "num_layers": 2, "num_attention_heads": 2,
        "attention_head_dim": 16, "joint_attention_dim": 48, "caption_projection_dim": 32,
        "pooled_projection_dim": 24, "pos_embed_max_size": 8, "dual_attention_layers": (0,),
    },
    "vae": {"block_out_channels": (8,) * 4, "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4},
    "text_encoder": {**_CLIP, "projection_dim": 8},
    "text_encoder_2": {**_CLIP, "projection_dim": 16},
    "text_encoder_3": {"d_model": 48, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 99},
}  # fmt: skip
_PARTS = {part: {**config, **_CHANGES[part]} for part, config in SD35_MEDIUM.configs.parts.items()}
TINY = dataclasses.replace(
    SD35_MEDIUM,
    name="tiny",
    configs=dataclasses.replace(SD35_MEDIUM.configs, parts=_PARTS),
    limit=7,
    image_size=48,
    group_size=4,
    steps=2,
    training=SD35_MEDIUM.training.model_copy(update={"microbatch": 8, "inner_epochs": 2}),
)


@pytest.fixture(scope="session")
def tiny() -> Shape:
    return TINY


@pytest.fixture
def bench() -> Bench:
    return true_shape_bench(TINY, torch.device("cpu"), seed=0)


@pytest.fixture
def make_work(bench: Bench) -> Any:
    """A float32 workload with changed training settings."""

    def make(**changes: Any) -> Workload:
        training = bench.work.settings.model_copy(update=changes)
        return dataclasses.replace(bench.work, settings=training, autocast=False)

    return make
