"""Objectives in settings: found by name, entry point or path; what another objective reads is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.objectives.awm import Awm
from advantageflow.objectives.registry import BUILT_IN, make_objective
from advantageflow.settings import TrainingSettings

OWN = """
from pydantic import Field
from advantageflow.objectives.base import Needs, TransitionObjective, VelocityObjective
from advantageflow.objectives.batches import loss_and_metrics

class Steady(VelocityObjective):
    strength: float = Field(1.0, gt=0, description="of the pull to the base model")

    @property
    def needs(self):
        return Needs(rollout="none", reference=True)

    def loss(self, batch):
        pull = self.strength * batch.divergence
        return loss_and_metrics({"advantage_loss": batch.advantages * batch.error, "pull": pull})

class Unfinished(VelocityObjective):
    pass

class Steps(TransitionObjective):
    def loss(self, batch):
        return loss_and_metrics({"advantage_loss": -batch.advantages * batch.policy.log_probability(batch.following)})

class Forgetful(TransitionObjective):
    @property
    def needs(self):
        return Needs(reference=True)

    def loss(self, batch):
        return loss_and_metrics({"advantage_loss": -batch.advantages})

class Other:
    pass
"""
Install = Callable[..., None]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A module in the current folder that is not installed; called with entry points, it is."""
    (tmp_path / "own_objectives.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def install(**entry_points: str) -> None:
        info = tmp_path / "site" / "own_objectives-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-objectives\nVersion: 1.0\n")
        lines = [f"{name} = {target}" for name, target in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[advantageflow.objectives]", *lines]))
        sys.path[:0] = [str(tmp_path), str(info.parent)]

    yield install
    sys.modules.pop("own_objectives", None)


OF_SHAPES = AdvantageFlow(lam="auto", space="velocity", reference_weight=0.0)


def chosen(*overrides: str, preset: str = "tiny") -> Any:
    return load_settings(preset, None, overrides).training.objective


def error_of(*overrides: str, preset: str = "tiny") -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(preset, None, overrides)
    return caught.value


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_objective_has_its_name_and_comes_back_from_json(name: str) -> None:
    settings = TrainingSettings(objective=name)
    assert settings.objective.name == name
    assert TrainingSettings.model_validate_json(settings.model_dump_json()) == settings


def test_a_name_replaces_the_whole_objective_of_a_preset() -> None:
    assert chosen(preset="shapes") == OF_SHAPES
    assert chosen("training.objective=awm", preset="shapes") == Awm()
    assert chosen("training.objective=advantage_flow", preset="shapes") == AdvantageFlow()
    weighted = chosen("training.objective=awm", "training.objective.rollout_weight=0.5", preset="shapes")
    assert weighted == chosen("training.objective={name: awm, rollout_weight: 0.5}") == Awm(rollout_weight=0.5)


def test_an_option_is_changed_beside_those_of_the_preset() -> None:
    objective = OF_SHAPES.model_copy(update={"normalise_error": False})
    assert chosen("training.objective.normalise_error=false", preset="shapes") == objective


@pytest.mark.parametrize(
    ("overrides", "where", "message", "remedy"),
    [
        (["name=awm", "lam=0.5"], "lam", "objective 'awm' has no option 'lam'", "an option of advantage_flow; options"),
        (["beta=2"], "beta", "objective 'advantage_flow' has no option 'beta'", "an option of diffusion_nft"),
        (["lamm=2"], "lamm", "objective 'advantage_flow' has no option 'lamm'", "did you mean 'lam'?"),
        (["name=avm"], "name", "unknown objective 'avm'", "did you mean 'awm'?"),
        (["name=[1]"], "name", "[1] is not allowed", "the name of an objective"),
        (["lam=-1"], "lam", "must be at least 0, or 'auto'", ""),
        (["data_share=2"], "data_share", "2 is not allowed", "at most 1"),
        (["timestep_sampling=often"], "timestep_sampling", "'often' is not allowed", "one of uniform, stratified"),
        (["name=nowhere.at:All"], "name", "there is no module 'nowhere", "install its package"),
    ],
)
def test_a_wrong_option_is_refused_with_its_place(overrides: list[str], where: str, message: str, remedy: str) -> None:
    error = error_of(*(f"training.objective.{override}" for override in overrides))
    assert error.where == f"training.objective.{where} (--set training.objective.{overrides[-1]})"
    assert message in error.message
    assert remedy in error.remedy


def test_what_a_preset_gives_another_objective_is_refused_where_only_the_name_is_set() -> None:
    error = error_of("training.objective.name=awm", preset="shapes")
    assert "training.objective.lam (preset shapes.yaml:" in error.message
    assert "training.objective=NAME changes the objective and leaves behind" in error.message


@pytest.mark.parametrize("value", ["3", "[awm]", "null"])
def test_what_is_not_an_objective_says_what_to_give(value: str) -> None:
    assert "give the name of one (advantage_flow, awm, " in error_of(f"training.objective={value}").remedy


@pytest.mark.parametrize(
    ("old", "now"),
    [
        ("algorithm=advantage_weighted", "training.objective; instead of advantage_weighted: advantage_flow with"),
        ("data_weight=0.1", "training.objective.data_share, a share of lam"),
        ("diffusion_nft.beta=0.5", "training.objective, with name diffusion_nft"),
        ("awm={}", "training.objective, with name awm"),
        ("passes=2", "training.inner_epochs"),
        ("flow_grpo={}", "training.objective, with name flow_grpo"),
    ],
)
def test_a_key_of_before_names_the_one_of_today(old: str, now: str) -> None:
    error = error_of(f"training.{old}")
    assert error.message == "this setting has moved"
    assert now in error.remedy


@pytest.mark.parametrize("name", ["lam", "normalise_error", "reference_weight", "timestep_sampling"])
def test_an_option_of_the_objective_that_is_given_beside_it_is_pointed_there(name: str) -> None:
    assert error_of(f"training.{name}=1").remedy == f"did you mean 'training.objective.{name}'?"


def test_an_objective_of_trajectories_needs_a_sampler_that_leaves_them() -> None:
    trajectories = ("rollout.sampler=sde", "rollout.trajectories=true")
    error = error_of("training.objective=flow_grpo")
    assert error.message == "flow_grpo learns from noisy trajectories"
    assert error.remedy.startswith("set rollout.sampler")
    assert chosen("training.objective=flow_grpo", *trajectories).needs.trajectories


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        (["rollout.steps=1"], True),
        (["rollout.sde_window=1"], True),
        (["rollout.sde_window=1", "rollout.sde_window_range=[0, 2]", "rollout.steps=3"], False),
        (["rollout.sde_window=2"], False),
        (["rollout.steps=2"], False),
    ],
)
def test_a_trajectory_without_noise_is_not_learned_from(changes: list[str], refused: bool) -> None:
    given = ["training.objective=flow_grpo", "rollout.sampler=cps", "rollout.trajectories=true", *changes]
    if refused:
        assert error_of(*given).message.startswith("the last step of sampler cps has no noise")
    else:
        assert chosen(*given).needs.trajectories


@pytest.mark.usefixtures("own")
def test_an_objective_of_ones_own_is_found_by_its_path() -> None:
    path = "own_objectives:Steady"
    objective = chosen(f"training.objective={path}", "training.objective.strength=2", preset="shapes")
    assert (objective.name, objective.strength, objective.timestep_sampling) == (path, 2.0, "stratified")
    assert type(objective)(strength=2.0) == objective, "made in Python it has the same name"
    assert "no option 'strenght'" in error_of(f"training.objective={{name: {path}, strenght: 2}}").message
    assert "above 0" in error_of(f"training.objective={{name: {path}, strength: 0}}").remedy
    assert "learns from noisy trajectories" in str(error_of("training.objective=own_objectives:Steps"))
    assert "TransitionObjective say trajectories=True" in str(error_of("training.objective=own_objectives:Forgetful"))


def test_an_objective_of_ones_own_is_found_by_entry_point(own: Install) -> None:
    own(steady="own_objectives:Steady")
    assert chosen("training.objective=steady").name == "steady"
    assert "did you mean 'steady'?" in error_of("training.objective=stedy").remedy


def test_an_entry_point_may_not_take_a_built_in_name(own: Install) -> None:
    own(awm="own_objectives:Steady")
    assert "two objectives are called 'awm'" in error_of("training.objective=awm").message


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["Unfinished", "Other", "loss_and_metrics"])
def test_a_class_that_is_not_an_objective_says_what_it_should_be(name: str) -> None:
    error = error_of(f"training.objective=own_objectives:{name}")
    assert f"'own_objectives:{name}' (by its path) is not an objective" in error.message
    assert "a subclass of VelocityObjective or TransitionObjective with a method 'loss'" in error.remedy


def test_settings_with_any_built_in_objective_are_made_without_torch() -> None:
    code = (
        "import sys\n"
        "from advantageflow.settings import TrainingSettings\n"
        f"for name in {list(BUILT_IN)}: TrainingSettings(objective=name).objective.needs\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_objective_is_taken_as_it_is() -> None:
    objective = AdvantageFlow(lam=0.5)
    assert make_objective(objective) is objective
    assert TrainingSettings(objective=objective).objective == objective
