"""The resident pipeline's stages as plain calls, for one process: what pipeline.py says to Kubeflow."""

from advantageflow.loop import stage as loop
from advantageflow.settings import RunSettings
from advantageflow_pipelines.local.inline import Stages
from advantageflow_pipelines.pipelines.online.definition import evaluations
from advantageflow_pipelines.pipelines.online.inline import evaluate, prepare


def run_resident(settings: RunSettings, stages: Stages) -> None:
    """Prepare, evaluate the base, then loops of rounds, each followed by an evaluation."""
    texts, policy = prepare(settings, stages)
    first, *others = evaluations(settings)
    base = evaluate(settings, stages, first, policy, texts, None)
    for judged in others:
        policy = stages.run(
            "loop", loop.run, {"new_policy": "policy_out"}, of_round=judged.round_index,
            settings=settings.training.of_a_run(settings.rounds), rollout=settings.rollout, reward=settings.reward,
            model=settings.model, store=settings.store, seed=settings.seed, round_index=judged.round_index,
            policy=policy, **texts,
        )["new_policy"]  # fmt: skip
        evaluate(settings, stages, judged, policy, texts, base)
