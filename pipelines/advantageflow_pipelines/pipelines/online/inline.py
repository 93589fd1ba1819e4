"""The online pipeline's stages as plain calls, for one process: what pipeline.py says to Kubeflow."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from advantageflow.evaluation import stage as evaluation
from advantageflow.prompts import stage as prompts
from advantageflow.rollout import stage as rollout
from advantageflow.scoring import stage as scoring
from advantageflow.settings import RunSettings
from advantageflow.training import stage as training
from advantageflow_pipelines.local.inline import Stages
from advantageflow_pipelines.pipelines.definition import Evaluation
from advantageflow_pipelines.pipelines.online.definition import evaluations


class Done(NamedTuple):
    """What a run has made: prompts and what conditions the model for them, its first and last policies and reports."""

    texts: dict[str, Any]
    start: Path
    policy: Path
    before: Path
    after: Path


def run_online(settings: RunSettings, stages: Stages) -> Done:
    """Prepare, evaluate the base, then rounds of rollout, reward and training, evaluated as the settings say.

    A round's shards are one task, on the CPU with as many threads side by side: that changes no bit of them.
    """
    texts, start = prepare(settings, stages)
    policy, judged = start, {one.round_index: one for one in evaluations(settings)}
    after = base = evaluate(settings, stages, judged[0], policy, texts, None)
    workers = settings.rollout.shards if settings.model.device == "cpu" else 1
    for number in range(1, settings.rounds + 1):
        run = partial(stages.run, of_round=number)
        rolled_out = run(
            "rollout", partial(rollout.run, workers=workers), {"rollouts": "rollouts_out", "latents": "latents_out"},
            settings=settings.rollout.model_copy(update={"shards": 1}), model=settings.model, seed=settings.seed,
            round_index=number, shard=0, rollout_policy=policy, **texts,
        )  # fmt: skip
        scores = run(
            "reward", scoring.run, {"scores": "scores_out"}, settings=settings.reward,
            prompts=texts["prompts"], rollouts=rolled_out["rollouts"],
        )["scores"]  # fmt: skip
        policy = run(
            "training", training.run, {"new_policy": "policy_out"},
            settings=settings.training.of_a_run(settings.rounds), reward=settings.reward, model=settings.model,
            seed=settings.seed, round_index=number, policy=policy, latents=[rolled_out["latents"]], scores=[scores],
            store=settings.store, **texts,
        )["new_policy"]  # fmt: skip
        if number in judged:
            after = evaluate(settings, stages, judged[number], policy, texts, base)
    return Done(texts, start, policy, base, after)


def prepare(settings: RunSettings, stages: Stages) -> tuple[dict[str, Any], Path]:
    """Prompts and what conditions the model for them, as arguments of the stages; and the policy before round 1."""
    made = stages.run(
        "prompts", prompts.run,
        {"prompts": "prompts_out", "conditioning": "conditioning_out", "policy": "policy_out"},
        settings=settings.prompts, model=settings.model, reward=settings.reward, seed=settings.seed,
        init_policy=settings.init_policy, store=settings.store,
    )  # fmt: skip
    return {name: made[name] for name in ("prompts", "conditioning")}, made["policy"]


def evaluate(
    settings: RunSettings, stages: Stages, which: Evaluation, policy: Path, texts: dict[str, Any], base: Path | None
) -> Path:
    """Judge a policy, against the base's report where there is one; returns the report."""
    return stages.run(
        "evaluation", evaluation.run, {"report": "report_out"}, of_round=which.round_index,
        settings=settings.evaluation, model=settings.model, reward=settings.reward, seed=settings.seed,
        round_index=which.round_index, images=which.images, policy=policy, base=base,
        beside_base=base is None, **texts,
    )["report"]  # fmt: skip
