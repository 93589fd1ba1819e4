"""Held-out prompts and a policy to evaluate, on disk."""

from __future__ import annotations

from pathlib import Path

import torch

from advantageflow.policy.conditioning import Conditioning
from advantageflow.records import Prompt
from advantageflow.settings import EvaluationSettings
from advantageflow.shapes.prompts import all_prompts
from advantageflow.store.conditioning import write_conditioning
from advantageflow.store.files import publish, write_json
from advantageflow.store.prompts import write_prompts

SETTINGS = EvaluationSettings(steps=2, batch=8, sample_prompts=6, threads=1)
NOISY = SETTINGS.model_copy(update={"guidance_scale": 40.0})  # follows a velocity that is far too large
TOKENS, WIDTH, POOLED = 20, 128, 128


def held_out(per_task: int) -> list[Prompt]:
    chosen: dict[str, list[Prompt]] = {}
    for prompt in all_prompts():
        if prompt.split == "eval" and len(chosen.setdefault(prompt.task, [])) < per_task:
            chosen[prompt.task].append(prompt)
    return [prompt for prompts in chosen.values() for prompt in prompts]


def write_world(folder: Path, prompts: list[Prompt]) -> None:
    generator = torch.Generator().manual_seed(1)
    embeds, pooled = (torch.randn(len(prompts), *shape, generator=generator) for shape in ((TOKENS, WIDTH), (POOLED,)))
    told = {"prompt_embeds": embeds, "pooled": pooled}
    told = {name: torch.cat([tensor, torch.zeros(1, *tensor.shape[1:])]) for name, tensor in told.items()}
    write_prompts(folder / "prompts", prompts, {})
    write_conditioning(folder / "conditioning", prompts, Conditioning(told).rows, {})
    with publish(folder / "policy") as partial:
        state = {"round": 0, "step": 0, "settings": {}, "provenance": {}, "policy_sha256": None}
        write_json(partial / "state.json", state)
