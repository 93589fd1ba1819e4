"""The retraining pipeline's stages as plain calls, for one process: those of the online one, and the gate."""

from advantageflow.evaluation import promotion
from advantageflow.settings import RunSettings
from advantageflow_pipelines.local.inline import Stages
from advantageflow_pipelines.pipelines.online.inline import run_online


def run_retraining(settings: RunSettings, stages: Stages) -> None:
    """Train from the champion on, and decide between it and what came of it."""
    done = run_online(settings, stages)
    stages.run(
        "promotion", promotion.run, {"decision": "decision_out"}, settings=settings.promotion,
        evaluation=settings.evaluation, model=settings.model, reward=settings.reward, seed=settings.seed,
        champion=done.start, candidate=done.policy, before=done.before, after=done.after, **done.texts,
    )  # fmt: skip
