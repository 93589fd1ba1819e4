"""An objective from outside the package trains, named by its path or by an entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advantageflow.settings import ModelSettings, RewardSettings, TrainingSettings
from advantageflow.store.files import read_json
from advantageflow.training import stage

OBJECTIVE = """
from advantageflow.objectives.base import Needs, VelocityObjective
from advantageflow.objectives.batches import loss_and_metrics

class Steady(VelocityObjective):
    strength: float = 1.0

    @property
    def needs(self):
        return Needs(rollout="none", reference=True)

    def loss(self, batch):
        pull = self.strength * batch.divergence
        return loss_and_metrics({"advantage_loss": (batch.advantages + 1) * batch.error, "pull": pull})
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a module in the current folder, which a distribution's entry point 'steady' names too."""
    (tmp_path / "steady_objective.py").write_text(OBJECTIVE)
    information = tmp_path / "site" / "steady-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: steady\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[advantageflow.objectives]\nsteady = steady_objective:Steady\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(information.parent), *sys.path])
    yield "steady_objective:Steady"
    sys.modules.pop("steady_objective", None)


def test_it_trains_by_its_path_and_by_its_entry_point_alike(
    maker: Any, model: ModelSettings, settings: TrainingSettings, path: str
) -> None:
    world, trained = maker.make(), []
    for name in (path, "steady"):
        given = {**settings.model_dump(), "objective": {"name": name, "strength": 0.5}}
        carried = TrainingSettings.model_validate_json(TrainingSettings(**given).model_dump_json())
        out = world.root / name.replace(":", "-")
        stage.run(carried, RewardSettings(), model, 0, 1, **world.artifacts(), policy_out=out)
        state = read_json(out / "state.json")
        assert state["settings"]["training"]["objective"]["name"] == name
        assert state["settings"]["training"]["objective"]["strength"] == 0.5
        trained.append(state["policy_sha256"])
    assert trained[0] == trained[1]
    out = world.root / "other"
    stage.run(settings, RewardSettings(), model, 0, 1, **world.artifacts(), policy_out=out)
    assert read_json(out / "state.json")["policy_sha256"] != trained[0]
