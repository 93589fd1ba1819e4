"""Resources that set every value differently for each stage, and settings to compile with them."""

from __future__ import annotations

from typing import Any

from advantageflow.settings import (
    EvaluationSettings,
    ModelSettings,
    RewardSettings,
    RolloutSettings,
    RunSettings,
    StoreSettings,
    TrackingSettings,
)  # fmt: skip
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing.resources import files
from advantageflow_pipelines.placing.resources.stage_resources import (
    Environment,
    Resources,
    Retries,
    StageResources,
    Toleration,
    TrainingResources,
)

Tasks = dict[str, Any]
SMALL = {
    "preset": "small",
    "rounds": 2,
    "rollout": RolloutSettings(shards=2),
    "evaluation": EvaluationSettings(images=120, round_images=60),
    "store": StoreSettings(url="s3://bucket/runs"),
    "tracking": TrackingSettings(experiment="flow"),
}
ON_CPU = RunSettings(**SMALL)
ON_GPU = RunSettings(model=ModelSettings(device="cuda"), reward=RewardSettings(options={"device": "cuda"}), **SMALL)
EVERYTHING = Resources(
    service_account="trainer",
    stages={
        stage: (TrainingResources if stage == "training" else StageResources)(
            gpus=number,
            gpu_type="amd.com/gpu",
            cpu=f"{number}500m",
            cpu_limit=f"{number + 1}",
            memory=f"{number}0Gi",
            memory_limit=f"{number}1Gi",
            shared_memory=f"{number}Gi",
            scratch=f"{number}00Gi",
            node_selector={"pool": stage, "zone": "a"},
            tolerations=(
                Toleration(key=stage, operator="Equal", value="x", effect="NoExecute"),
                Toleration(key="spot", effect="NoSchedule"),
            ),
            secrets=(Environment(name=f"{stage}-secret", keys={"token": "TOKEN"}),),
            config_maps=(Environment(name=f"{stage}-map", keys={"a": "A", "b": "B"}, optional=True),),
            image_pull_secrets=("registry", stage),
            timeout_seconds=1000 + number,
            retries=Retries(count=number, backoff_seconds=30 + number, factor=3, deadline_seconds=9000 + number),
        )
        for number, stage in enumerate(ONLINE.stage_names, start=1)
    },
)


def load_resources(preset: str) -> Resources:
    return files.load_resources(preset, ONLINE)
