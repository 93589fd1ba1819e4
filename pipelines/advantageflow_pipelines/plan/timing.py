"""From operations to hours: what is assumed of GPUs, and which stages run side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.plan.gpus import Gpu

UTILISATION = 0.35
REWARD_UTILISATION = 0.05
_SECONDS = 3600


@dataclass(frozen=True)
class Speed:
    """GPUs, and what part of their peak is reached.

    Attributes:
        gpu: of this kind.
        count: how many.
        utilisation: of the peak, by the model. No run was measured: 0.35 is between the 0.3 to 0.5 that well-made
            transformer training reaches, toward the lower end because adapters and normalisations are memory-bound.
        reward_utilisation: by reward networks: small, in float32, on batches of a few images that the CPU prepares.
        known: whether the peak is that of the model's precision; without it there are no hours.
    """

    gpu: Gpu
    count: int = 1
    utilisation: float = UTILISATION
    reward_utilisation: float = REWARD_UTILISATION
    known: bool = True

    def hours(self, flops: float) -> float:
        """GPU-hours of the model's operations."""
        return flops / (self.gpu.peak * self.utilisation) / _SECONDS

    def reward_hours(self, flops: float) -> float:
        """GPU-hours of rewards' operations."""
        return flops / (self.gpu.peak * self.reward_utilisation) / _SECONDS

    def assumptions(self) -> list[str]:
        """What the hours rest on."""
        if not self.known:
            return ["no time: only bfloat16's peak is listed, and the model computes in another precision"]
        return [
            f"of {self.gpu.title}'s {self.gpu.peak / 1e12:g} TFLOP/s in dense bfloat16 the model is taken to reach "
            f"{self.utilisation:.0%} (--utilisation) and rewards {self.reward_utilisation:.0%}: assumed, not measured; "
            f"peak and memory: {self.gpu.source}",
            "hours leave out loading models, moving artifacts, and what Kubeflow takes: minutes for a stage of a round",
            "rollout and reward shards share the GPUs; training is one process on one GPU; evaluations are done in "
            "line, though a cluster does them beside the next round",
        ]


def hours(
    stages: Mapping[str, float | None], settings: RunSettings, speed: Speed | None
) -> tuple[float | None, float | None]:
    """GPU-hours of a run, and its hours by the clock; stages without an estimate are left out of both."""
    if speed is None or not speed.known:
        return None, None
    known = {name: value for name, value in stages.items() if value is not None}
    sharded = pipeline_of(settings).sharded
    side_by_side = min(speed.count, settings.rollout.shards)
    wall = sum(value / side_by_side if name in sharded else value for name, value in known.items())
    return sum(known.values()), wall
