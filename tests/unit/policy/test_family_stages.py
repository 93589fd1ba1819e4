"""A round of every stage with a tiny model: the policy changes, comes back from its files, and makes other images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from rolled_out import outputs_in

from advantageflow.evaluation import stage as evaluation
from advantageflow.evaluation.report import read_outcomes
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.loading import load_family, load_transformer
from advantageflow.prompts import stage as prompts
from advantageflow.records import CONDITIONING_FILE
from advantageflow.rollout import stage as rollout
from advantageflow.scoring import stage as reward
from advantageflow.settings import (
    EvaluationSettings,
    LoraSettings,
    ModelSettings,
    PromptSettings,
    RewardSettings,
    RolloutSettings,
    RunSettings,
    TrainingSettings,
)
from advantageflow.store.files import read_json, read_tensors
from advantageflow.store.policies import read_policy_state
from advantageflow.store.rollouts import read_latents
from advantageflow.training import stage as training
from advantageflow_pipelines.local.policies import draw
from advantageflow_pipelines.plan.estimate import make_plan

REWARD = RewardSettings(name="jpeg", column="compressibility")
ROLLOUT = RolloutSettings(prompts_per_round=2, group_size=4, steps=2, sampler="euler", shards=1)
TRAINING = TrainingSettings(
    gradient_steps=2, inner_epochs=2, microbatch=4, threads=1, lora=LoraSettings(rank=2), gradient_checkpointing=True
)
EVALUATION = EvaluationSettings(steps=2, batch=4, sample_prompts=1, threads=1)


def write_prompts(path: Path) -> str:
    lines = [{"prompt": text, "split": "train"} for text in ("a red star", "two blue circles")]
    lines.append({"prompt": "a green star", "split": "eval"})
    path.write_text("\n".join(json.dumps({"tag": "any", **line}) for line in lines))
    return str(path)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> ModelSettings:
    settings: ModelSettings = request.getfixturevalue(request.param)
    return settings


@pytest.mark.parametrize(
    ("model", "shape"), [("dev", (4, 4, 4)), ("qwen_image", (4, 1, 4, 4)), ("z_image", (4, 4, 4))], indirect=["model"]
)
def test_a_round_trains_a_policy_that_loads_again(model: ModelSettings, tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = model.model_copy(update={"dtype": "bfloat16"})  # where a part that stays in float32 does not go unseen
    source, base, trained = write_prompts(tmp_path / "prompts.jsonl"), tmp_path / "base", tmp_path / "trained"
    made = {name: tmp_path / name for name in ("prompts", "conditioning")}
    prompts.run(
        PromptSettings(source=source, eval_prompts=1), model, REWARD, 0, init_policy=None,
        prompts_out=made["prompts"], conditioning_out=made["conditioning"], policy_out=base,
    )  # fmt: skip
    stored = read_tensors(made["conditioning"] / CONDITIONING_FILE).values()
    assert {tensor.dtype for tensor in stored if tensor.is_floating_point()} == {torch.bfloat16}
    rollout.run(ROLLOUT, model, 0, 1, 0, **made, rollout_policy=base, **outputs_in(tmp_path))
    reward.run(REWARD, prompts=made["prompts"], rollouts=tmp_path / "rollouts", scores_out=tmp_path / "scores")
    training.run(
        TRAINING, REWARD, model, 0, 1, **made, policy=base,
        latents=[tmp_path / "latents"], scores=[tmp_path / "scores"], policy_out=trained,
    )  # fmt: skip
    report = tmp_path / "report"
    evaluation.run(EVALUATION, model, REWARD, 0, 1, 4, **made, policy=trained, report_out=report)

    assert read_latents(tmp_path / "latents").shape == (8, *shape)
    adapters = attach_adapters(load_transformer(model), trained, TRAINING.lora, 0, load_family(model))
    assert adapters.sha256() == read_policy_state(trained).policy_sha256
    assert {value.dtype for value in adapters.parameters()} == {torch.float32}
    assert any(value.abs().max() > 0 for name, value in adapters.named_parameters().items() if "lora_B" in name)
    assert read_json(report / "metrics.json")["images"] == len(read_outcomes(report)) == 4

    rollout.run(ROLLOUT, model, 0, 1, 0, **made, rollout_policy=trained, **outputs_in(tmp_path / "again"))
    assert not torch.equal(read_latents(tmp_path / "again" / "latents"), read_latents(tmp_path / "latents"))

    (drawn,) = draw(model, trained, ["a red star"], 0, EVALUATION.model_copy(update={"guidance_scale": 2.0}))
    assert drawn.size == (16, 16)
    plan = make_plan(RunSettings(model=model, training=TRAINING), None)
    assert plan.model["image_size"] == 16
    assert {stage.stage for stage in plan.stages if stage.flops} >= {"rollout", "training", "evaluation"}
