"""The online pipeline's stages as plain calls, for one process: what pipeline.py says to Kubeflow."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from advantageflow.evaluation import stage as evaluation
from advantageflow.prompts import stage as prompts
from advantageflow.rollout import stage as rollout
from advantageflow.scoring import stage as scoring
from advantageflow.settings import RunSettings
from advantageflow.training import stage as training
from advantageflow_pipelines.local.inline import Stages
from advantageflow_pipelines.pipelines.online.schedule import evaluations


def run_online(settings: RunSettings, stages: Stages) -> None:
    """Prepare, evaluate the base, then rounds of rollout, reward and training, evaluated as the settings say.

    A round's shards are one task, on the CPU with as many threads side by side: that changes no bit of them.
    """
    run, judged, seed = stages.run, dict(evaluations(settings)), settings.seed
    prepared = run(
        "prompts", prompts.run,
        {"prompts": "prompts_out", "conditioning": "conditioning_out", "policy": "policy_out"},
        settings=settings.prompts, model=settings.model, reward=settings.reward, seed=seed,
        init_policy=settings.init_policy, store=settings.store,
    )  # fmt: skip
    texts: dict[str, Any] = {"prompts": prepared["prompts"], "conditioning": prepared["conditioning"]}

    def evaluate(number: int, policy: Path, base: Path | None) -> Path:
        return run(
            "evaluation", evaluation.run, {"report": "report_out"}, of_round=number, settings=settings.evaluation,
            model=settings.model, reward=settings.reward, seed=seed, round_index=number, images=judged[number],
            policy=policy, base=base, **texts,
        )["report"]  # fmt: skip

    policy = prepared["policy"]
    base = evaluate(0, policy, None)
    workers = settings.rollout.shards if settings.model.device == "cpu" else 1
    for number in range(1, settings.rounds + 1):
        this_round = partial(run, of_round=number)
        rolled_out = this_round(
            "rollout", partial(rollout.run, workers=workers), {"rollouts": "rollouts_out", "latents": "latents_out"},
            settings=settings.rollout.model_copy(update={"shards": 1}), model=settings.model, seed=seed,
            round_index=number, shard=0, rollout_policy=policy, **texts,
        )  # fmt: skip
        scores = this_round(
            "reward", scoring.run, {"scores": "scores_out"}, settings=settings.reward,
            prompts=texts["prompts"], rollouts=rolled_out["rollouts"],
        )["scores"]  # fmt: skip
        policy = this_round(
            "training", training.run, {"new_policy": "policy_out"},
            settings=settings.training.of_a_run(settings.rounds), reward=settings.reward, model=settings.model,
            seed=seed, round_index=number, policy=policy, latents=[rolled_out["latents"]], scores=[scores],
            store=settings.store, **texts,
        )["new_policy"]  # fmt: skip
        if number in judged:
            evaluate(number, policy, base)
