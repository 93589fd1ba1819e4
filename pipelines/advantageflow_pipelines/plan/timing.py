"""From operations to hours: what is assumed of GPUs, and which stages run side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.plan.figures import REWARDS, SAMPLING, START, TRAINING
from advantageflow_pipelines.plan.gpus import Gpu

_SECONDS = 3600


@dataclass(frozen=True)
class Speed:
    """GPUs, and what part of their peak is reached.

    Attributes:
        gpu: of this kind.
        count: how many.
        utilisation: of the peak, by the model; None: what was measured of training and of sampling.
        known: whether the peak is that of the model's precision; without it there are no hours.
    """

    gpu: Gpu
    count: int = 1
    utilisation: float | None = None
    known: bool = True

    def hours(self, sampling: float, training: float, rewards: float, tasks: int) -> float:
        """GPU-hours of operations without and with gradient and of rewards, and of starting so many tasks."""
        shares = (self.utilisation or SAMPLING.value, self.utilisation or TRAINING.value, REWARDS.value)
        computing = sum(flops / share for flops, share in zip((sampling, training, rewards), shares, strict=True))
        return (computing / self.gpu.peak + tasks * START.value) / _SECONDS

    def assumptions(self) -> list[str]:
        """What the hours rest on."""
        if not self.known:
            return ["no time: only bfloat16's peak is listed, and the model computes in another precision"]
        gpu = self.gpu
        peak = f"{gpu.title}'s {gpu.peak / 1e12:g} TFLOP/s in dense bfloat16 (peak and memory: {gpu.source})"
        if self.utilisation is not None:
            reached = [f"of {peak} the model is taken to reach {self.utilisation:.0%}: assumed (--utilisation)"]
        else:
            other = "" if gpu.title == TRAINING.device else f", and assumed of {gpu.title}"
            reached = [
                f"of {peak} training reaches {TRAINING.value:.1%}, {TRAINING}{other}",
                f"sampling, decoding and encoding {SAMPLING.value:.1%}, {SAMPLING}{other}",
            ]
        return [
            *reached,
            f"rewards reach {REWARDS.value:.0%}, {REWARDS}",
            f"a task takes {START.value:.0f} s to start and to load its model, {START}; on a cluster, pods, images and "
            "artifacts take more, which is left out",
            "rollout and reward shards share the GPUs, each process that trains has one; evaluations are done "
            "in line, though a cluster does them beside the next round",
        ]


def hours(
    stages: Mapping[str, float | None], settings: RunSettings, speed: Speed | None
) -> tuple[float | None, float | None]:
    """GPU-hours of a run, and its hours by the clock; stages without an estimate are left out of both."""
    if speed is None or not speed.known:
        return None, None
    known = {name: value for name, value in stages.items() if value is not None}
    pipeline = pipeline_of(settings)
    side_by_side = dict.fromkeys(pipeline.sharded, settings.rollout.shards)
    if pipeline.trainer is not None:
        side_by_side[pipeline.trainer] = settings.training.processes * settings.training.nodes
    wall = sum(value / min(speed.count, side_by_side.get(name, 1)) for name, value in known.items())
    return sum(known.values()), wall
