"""Trainings in two real processes over gloo, started once for all of them, and the same in one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from loop_world import loop_arguments
from torch import Tensor

from advantageflow.flow.samplers import timesteps
from advantageflow.flow.sde import integrate_sde
from advantageflow.loop.stage import run_rounds
from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.objectives.awm import Awm
from advantageflow.objectives.flow_grpo import FlowGrpo
from advantageflow.objectives.registry import make_objective
from advantageflow.policy.loading import load_family, load_transformer
from advantageflow.policy.sampling import step_noise, velocity_function
from advantageflow.runtime import carried
from advantageflow.settings import LoraSettings, ModelSettings, RewardSettings, StoreSettings, TrainingSettings
from advantageflow.store.conditioning import open_conditioning
from advantageflow.store.files import read_tensors
from advantageflow.store.prompts import read_prompts
from advantageflow.store.rollouts import read_index, write_latents
from advantageflow.tracking.journal import Journal, journal_in_use
from advantageflow.training.call import WorkerCall
from advantageflow.training.train import train

LOOPS: dict[str, dict[str, Any]] = {
    "advantage_flow": {"prompts_per_round": 3},
    "flow_grpo": {"prompts_per_round": 1, "sampler": "sde", "trajectories": True},
}
"""Settings of a loop's rollouts by its objective: an odd number of chunks, and one, which leaves a process without."""
DRIVER = Path(__file__).parent / "driver.py"
without_base = partial(AdvantageFlow, reference_weight=0.0)
CASES: dict[str, dict[str, Any]] = {
    "advantage_flow": {},
    "again": {},
    "v_roll for the deviation alone": {
        "objective": AdvantageFlow(data_share=1.0, reference_weight=0.0),
        "microbatch": 12,
    },
    "v_roll of bad rollouts and a few others": {
        "objective": AdvantageFlow(lam="auto", reference_weight=0.0),
        "microbatch": 5,
    },
    "weight decay and a reference": {"weight_decay": 0.1, "objective": AdvantageFlow(reference_weight=0.1)},
    "diffusion_nft": {"objective": "diffusion_nft"},
    "awm": {"objective": Awm(reference_weight=0.1)},
    "flow_grpo": {"objective": FlowGrpo(clip_range=1e-2, reference_weight=0.04)},
    "uneven steps, uneven microbatches": {"gradient_steps": 5, "inner_epochs": 1, "microbatch": 2},
    "steps of one sample, none for the second process": {
        "gradient_steps": 24,
        "inner_epochs": 1,
        "learning_rate": 1e-3,
    },
    "many steps": {"gradient_steps": 40, "inner_epochs": 40},
}


@dataclass(frozen=True)
class Trainings:
    """What one process made of every case, "one", and what two did, "two".

    Attributes:
        root: folder of all.
        world: the round that all are trained on.
        model: the base model.
    """

    root: Path
    world: Any
    model: ModelSettings

    def arguments(self, case: str, by: str, **changes: Any) -> dict[str, Any]:
        """Those of the stage."""
        base = {
            "rollout_decay": 0.0,
            "gradient_steps": 3,
            "inner_epochs": 3,
            "microbatch": 16,
            "learning_rate": 5e-3,
            "threads": 1,
        }
        settings = TrainingSettings(**{**base, "lora": LoraSettings(rank=2, alpha=2), **CASES[case], **changes})
        return {
            "settings": settings, "reward": RewardSettings(), "model": self.model, "seed": 0, "round_index": 1,
            **self.world.artifacts(), "policy_out": self.policy(by, case), "store": StoreSettings(),
        }  # fmt: skip

    def policy(self, by: str, case: str) -> Path:
        return self.root / by / case

    def journal(self, by: str, case: str) -> Path:
        return self.root / f"{by} {case}.jsonl"

    def tensors(self, by: str, case: str) -> dict[str, Tensor]:
        """Both adapters and the optimiser."""
        files = ("policy/adapter_model", "rollout_policy/adapter_model", "optimizer")
        folder = self.policy(by, case)
        return {f"{f}: {k}": v for f in files for k, v in read_tensors(folder / f"{f}.safetensors").items()}

    def events(self, by: str, case: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal(by, case).read_text().splitlines()]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """Each of the cases."""
    return str(request.param)


@pytest.fixture(scope="session")
def trained(model: ModelSettings, tmp_path_factory: pytest.TempPathFactory, world_maker: Any) -> Trainings:
    root = tmp_path_factory.mktemp("trained")
    trainings = Trainings(root, world_maker(root / "world").make(), model)
    _add_trajectories(trainings.world, model)
    calls = []
    for number, case in enumerate(CASES):
        with journal_in_use(Journal("one", trainings.journal("one", case))):
            train(**trainings.arguments(case, "one"))
        call = WorkerCall(carried(trainings.arguments(case, "two")), "two", str(trainings.journal("two", case)))
        (root / f"call-{number}").mkdir()
        calls.append(str(call.write(root / f"call-{number}")))
    rounds = loop_arguments(root / "loop", threads=1)
    for objective, sampler in LOOPS.items():
        settings = {"settings": rounds["settings"].model_copy(update={"objective": make_objective(objective)})}
        if objective == "advantage_flow":  # weights that both processes have to find in the gradients of all samples
            settings["reward"] = RewardSettings(
                combine="minimum_norm", others=[{"name": "jpeg", "column": "incompressibility"}]
            )
        given = rounds | settings | {"rollout": rounds["rollout"].model_copy(update=sampler)}
        run_rounds(**given, policy_out=trainings.policy("one", f"loop {objective}"))
        told = carried(given | {"policy_out": trainings.policy("two", f"loop {objective}")})
        (folder := root / f"call-{objective}").mkdir()
        calls.append(str(WorkerCall(told, function="advantageflow.loop.stage:run_rounds").write(folder)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
                "--rdzv-endpoint=localhost:0", "--local-addr=localhost"]  # fmt: skip
    done = subprocess.run([*torchrun, str(DRIVER), *calls], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return trainings


def _add_trajectories(world: Any, model: ModelSettings) -> None:
    """Rollouts sampled by the base model stochastically, so that every objective can learn from them."""
    rollouts, prompts = read_index(world.latents[0]), read_prompts(world.prompts)
    row = {prompt.prompt_id: number for number, prompt in enumerate(prompts)}
    rows = [row[rollout.prompt_id] for rollout in rollouts]
    told = open_conditioning(world.conditioning, prompts).rows(rows)
    velocity = velocity_function(load_family(model), load_transformer(model), told)
    noise = torch.randn(len(rollouts), 4, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents, trajectories = integrate_sde(
            velocity, noise, timesteps(4), noise_level=0.7,
            step_noise=step_noise(range(len(noise)), (4, 4, 4), "cpu"), keep=True,
        )  # fmt: skip
    told = {"round": 1, "policy_sha256": None}
    write_latents(world.latents[0], rollouts, latents, told, trajectories)
