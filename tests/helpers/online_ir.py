"""The online pipeline of two rounds and two shards, compiled to Kubeflow IR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from advantageflow.settings import EvaluationSettings, RolloutSettings, RunSettings
from advantageflow_pipelines.pipelines.building import build_pipeline

SETTINGS = RunSettings(
    preset="golden",
    seed=7,
    rounds=2,
    rollout=RolloutSettings(shards=2),
    evaluation=EvaluationSettings(every=1, images=120, round_images=60),
)


def compile_pipeline(settings: RunSettings, path: Path, **options: Any) -> None:
    """Write a run's pipeline as Kubeflow's compiler does."""
    compiler.Compiler().compile(build_pipeline(settings, **options), str(path))


def compiled(tmp_path: Path, settings: RunSettings = SETTINGS, **options: Any) -> dict[str, Any]:
    path = tmp_path / "pipeline.yaml"
    compile_pipeline(settings, path, **options)
    return dict(next(yaml.load_all(path.read_text(), yaml.CSafeLoader)))


def tasks(spec: dict[str, Any], component: str | None = None) -> dict[str, Any]:
    dag = spec["root"] if component is None else spec["components"][component]
    return dict(dag["dag"]["tasks"])
