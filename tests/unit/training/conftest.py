"""A tiny, randomly initialised Stable Diffusion 3 transformer, and rounds of rollouts and scores for it, on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.policy.conditioning import Conditioning
from advantageflow.records import Prompt, Rollout, Score, derive_seed
from advantageflow.settings import LoraSettings, ModelSettings, TrainingSettings
from advantageflow.store.conditioning import write_conditioning
from advantageflow.store.files import publish, write_json
from advantageflow.store.prompts import write_prompts
from advantageflow.store.rollouts import write_latents, write_scores
from advantageflow.training.policy import Policy
from advantageflow.training.train import load_policy

SHAPE = (4, 4, 4)
TOKENS, WIDTH, POOLED = 3, 32, 16


@dataclasses.dataclass(frozen=True)
class World:
    """Folders of a round.

    Attributes:
        latents: a folder for each shard.
        scores: a folder for each shard.
    """

    root: Path
    prompts: Path
    conditioning: Path
    policy: Path
    latents: list[Path]
    scores: list[Path]

    def artifacts(self) -> dict[str, Path | list[Path]]:
        """The inputs that the stage takes."""
        return {name: getattr(self, name) for name in ("prompts", "conditioning", "policy", "latents", "scores")}


class WorldMaker:
    """Writes rounds into a folder; equal arguments give equal data, however it is sharded."""

    def __init__(self, root: Path, groups: int = 4, group_size: int = 6) -> None:
        self.root = root
        self.group_size = group_size
        self.prompts = [Prompt(f"prompt {k}", "train", "single_object", {"tag": str(k)}) for k in range(groups)]

    def make(self, shards: int = 1, round_index: int = 1) -> World:
        folder = self.root / f"round-{round_index}-of-{shards}"
        self.write_prompts(folder / "prompts", folder / "conditioning")
        with publish(folder / "policy") as partial:
            state = {"round": 0, "step": 0, "settings": {}, "provenance": {"seed": 0}}
            write_json(partial / "state.json", {**state, "policy_sha256": None})
        world = World(folder, folder / "prompts", folder / "conditioning", folder / "policy", [], [])
        for shard in range(shards):
            # Backwards, so that the order in files is not the one that training needs.
            made = {"round": round_index, "shard": shard, "shards": shards}
            self._write_shard(world, self.prompts[shard::shards][::-1], shard, made)
        return world

    def write_prompts(self, folder: Path, conditioning: Path) -> None:
        generator, count = torch.Generator().manual_seed(0), len(self.prompts)
        embeds, pooled = (torch.randn(count, *shape, generator=generator) for shape in ((TOKENS, WIDTH), (POOLED,)))
        told = {"prompt_embeds": embeds, "pooled": pooled}
        told = {name: torch.cat([tensor, torch.zeros(1, *tensor.shape[1:])]) for name, tensor in told.items()}
        write_prompts(folder, self.prompts, {})
        write_conditioning(conditioning, self.prompts, Conditioning(told).rows, {})

    def _write_shard(self, world: World, prompts: Sequence[Prompt], shard: int, made: dict[str, int]) -> None:
        rollouts = [
            Rollout(prompt.prompt_id, made["round"], k, derive_seed(prompt.text, k))
            for prompt in prompts
            for k in range(self.group_size)
        ]
        latents = torch.cat([torch.empty(0, *SHAPE), *[self.latent(rollout.seed)[None] for rollout in rollouts]])
        scores = [
            Score(r.rollout_id, {"soft": x_0.mean().item(), "strict": float(x_0.mean() > 0)}, {}, "1")
            for r, x_0 in zip(rollouts, latents, strict=True)
        ]
        world.latents.append(world.root / f"latents-{shard}")
        world.scores.append(world.root / f"scores-{shard}")
        write_latents(world.latents[-1], rollouts, latents, {**made, "policy_sha256": None})
        write_scores(world.scores[-1], scores, ["soft", "strict"], made)

    @staticmethod
    def latent(seed: int) -> Tensor:
        return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def world_maker() -> type[WorldMaker]:
    """For worlds that several tests share."""
    return WorldMaker


@pytest.fixture
def maker(tmp_path: Path) -> WorldMaker:
    return WorldMaker(tmp_path / "world")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    """A model folder with nothing but a transformer: no text encoder and no autoencoder could be loaded."""
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=SHAPE[1],
        patch_size=2,
        in_channels=SHAPE[0],
        out_channels=SHAPE[0],
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=POOLED,
        pos_embed_max_size=SHAPE[1] // 2,
        qk_norm="rms_norm",
    )
    folder = tmp_path_factory.mktemp("model")
    transformer.save_pretrained(folder / "transformer")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))
    return ModelSettings(name=str(folder))


@pytest.fixture
def settings() -> TrainingSettings:
    return TrainingSettings(
        objective=AdvantageFlow(reference_weight=0.0),
        advantage_clip=2.0,
        rollout_decay=0.0,
        gradient_steps=3,
        inner_epochs=3,
        microbatch=16,
        learning_rate=5e-3,
        threads=1,
        lora=LoraSettings(rank=2, alpha=2),
    )


def folder_hash(folder: Path) -> str:
    """Hash over the names and bytes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture
def hash_of() -> Callable[[Path], str]:
    return folder_hash


@pytest.fixture
def make_policy(maker: Any, model: ModelSettings, settings: TrainingSettings) -> Callable[..., Policy]:
    folder = maker.make().policy
    return lambda **changes: load_policy(settings.model_copy(update=changes), model, 0, folder)
