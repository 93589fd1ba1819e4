"""The reward stage scores a shard, checks it, reports it, and needs neither torch nor diffusers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import advantageflow
from advantageflow.errors import DataError, RewardError, SettingsError
from advantageflow.records import Prompt, Rollout
from advantageflow.rewards.jpeg import JpegReward
from advantageflow.scoring.stage import run
from advantageflow.settings import RewardSettings, RewardTerm
from advantageflow.shapes.prompts import all_prompts
from advantageflow.shapes.scenes import render, scene_for
from advantageflow.store.files import read_metadata
from advantageflow.store.prompts import write_prompts
from advantageflow.store.rollouts import read_scores, write_rollouts
from advantageflow.tracking.events import read_events
from advantageflow.tracking.journal import stage_journal

SHAPES = RewardSettings(name="shapes", column="soft")
SEVERAL = RewardSettings(
    others=(RewardTerm(name="jpeg", column="compressibility"), RewardTerm(name="layout", column="beauty"))
)
BLANK = np.full((48, 48, 3), 128, dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


class Shard:
    """A prompts artifact and one shard: of each prompt its true picture (index 0) and a blank one (index 1)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        every = [prompt for prompt in all_prompts() if prompt.split == "train"]
        self.chosen = [next(p for p in every if p.task == task) for task in ("colors", "counting", "position")]
        self.rollouts = [Rollout(prompt.prompt_id, 4, index, 0) for prompt in self.chosen for index in (0, 1)]
        true = [render(scene_for(prompt.spec, np.random.default_rng(0))) for prompt in self.chosen]
        images = [png(image) for picture in true for image in (picture, BLANK)]
        self.images = dict(zip([one.rollout_id for one in self.rollouts], images, strict=True))

    def write(self) -> dict[str, Path]:
        write_prompts(self.root / "prompts", self.chosen, {})
        metadata = {"round": 4, "shard": 1, "shards": 2, "policy_sha256": "ab"}
        images = [self.images[one.rollout_id] for one in self.rollouts]
        write_rollouts(self.root / "rollouts", self.rollouts, images, metadata)
        return {"prompts": self.root / "prompts", "rollouts": self.root / "rollouts"}


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(tmp_path)


def journalled(folder: Path, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> list[dict[str, Any]]:
    """Run the stage and read the journal that it writes."""
    monkeypatch.setenv("ADVANTAGEFLOW_JOURNAL", str(folder))
    with stage_journal("reward", 4, 1):
        run(**arguments)
    return read_events(folder)


def test_true_pictures_score_one_and_blank_ones_do_not(shard: Shard) -> None:
    run(SHAPES, **shard.write(), scores_out=shard.root / "scores")
    scores = read_scores(shard.root / "scores")
    assert [score.rollout_id for score in scores] == [rollout.rollout_id for rollout in shard.rollouts]
    assert [score.rewards["strict"] for score in scores] == [1.0, 0.0] * 3
    assert all(score.rewards["soft"] == 1.0 for score in scores[::2])
    assert all(score.rewards["soft"] < 1.0 for score in scores[1::2])
    assert scores[1].details["failed"]


def test_the_artifact_says_whose_scores_they_are(shard: Shard) -> None:
    run(SHAPES, **shard.write(), scores_out=shard.root / "scores")
    metadata = read_metadata(shard.root / "scores")
    assert {key: metadata[key] for key in ("round", "shard", "shards", "policy_sha256")} == {
        "round": 4, "shard": 1, "shards": 2, "policy_sha256": "ab",
    }  # fmt: skip
    assert list(metadata["rewards"]) == ["shapes"]


def test_scores_do_not_depend_on_the_batch_they_are_in(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = shard.write()
    for size in (1, 4, 64):
        monkeypatch.setattr("advantageflow.scoring.stage.BATCH", size)
        run(SHAPES, **inputs, scores_out=shard.root / f"scores-{size}")
    assert read_scores(shard.root / "scores-1") == read_scores(shard.root / "scores-4")
    assert read_scores(shard.root / "scores-1") == read_scores(shard.root / "scores-64")


def test_another_reward_is_a_matter_of_settings(shard: Shard) -> None:
    settings = RewardSettings(name="jpeg", column="compressibility")
    run(settings, **shard.write(), scores_out=shard.root / "scores")
    scores = read_scores(shard.root / "scores")
    assert set(scores[0].rewards) == set(JpegReward.columns)
    assert scores[1].rewards["compressibility"] > scores[0].rewards["compressibility"]  # a blank picture is smaller


def test_an_empty_shard_gives_empty_scores(shard: Shard) -> None:
    shard.rollouts = []
    run(SHAPES, **shard.write(), scores_out=shard.root / "scores")
    assert read_scores(shard.root / "scores") == []
    assert read_metadata(shard.root / "scores")["columns"] == ["strict", "soft"]


def test_the_journal_gets_means_spreads_and_strict_by_task(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"settings": SHAPES, **shard.write(), "scores_out": shard.root / "scores"}
    events = journalled(shard.root / "journal", monkeypatch, **arguments)
    kinds = [event["event"] for event in events]
    assert kinds.index("useful") < kinds.index("progress") < kinds.index("metrics")
    metrics = next(event for event in events if event["event"] == "metrics")
    assert (metrics["step"], metrics["parent"]) == (4, False)
    values = metrics["values"]
    assert values["reward/strict_mean"] == 0.5
    assert values["reward/strict_std"] == 0.5
    assert values["reward/strict/counting"] == 0.5
    assert values["alarm/soft_identical"] == 0.0


def test_scores_that_are_all_the_same_raise_an_alarm_metric(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    shard.rollouts = shard.rollouts[::2]
    arguments = {"settings": SHAPES, **shard.write(), "scores_out": shard.root / "scores"}
    events = journalled(shard.root / "journal", monkeypatch, **arguments)
    values = next(event["values"] for event in events if event["event"] == "metrics")
    assert values["alarm/strict_identical"] == 1.0


@pytest.mark.parametrize("image", [b"", b"not a picture", png(BLANK)[:60]])
def test_a_picture_that_cannot_be_decoded_is_named_with_its_row(shard: Shard, image: bytes) -> None:
    shard.images[shard.rollouts[3].rollout_id] = image
    with pytest.raises(DataError, match=shard.rollouts[3].rollout_id) as caught:
        run(SHAPES, **shard.write(), scores_out=shard.root / "scores")
    assert caught.value.where.endswith("rollouts.parquet: row 3")
    assert not (shard.root / "scores").exists()


def test_a_rollout_of_an_unknown_prompt_is_named(shard: Shard) -> None:
    inputs = shard.write()
    shard.root = shard.root / "other"
    shard.chosen = shard.chosen[:1]
    inputs["prompts"] = shard.write()["prompts"]
    with pytest.raises(DataError, match="is unknown") as caught:
        run(SHAPES, **inputs, scores_out=shard.root / "scores")
    assert caught.value.where.endswith("rollouts.parquet: row 2")


def test_a_wrong_column_is_refused_before_any_scoring(shard: Shard) -> None:
    with pytest.raises(SettingsError, match="no column 'compressibility'"):
        run(RewardSettings(name="shapes", column="compressibility"), **shard.write(), scores_out=shard.root / "scores")


def test_a_reward_that_fails_names_the_rollout_and_writes_nothing(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JpegReward, "score", fails_on_blank)
    with pytest.raises(RewardError, match="no contrast") as caught:
        run(RewardSettings(name="jpeg", column="compressibility"), **shard.write(), scores_out=shard.root / "scores")
    assert shard.rollouts[1].rollout_id in caught.value.where
    assert not (shard.root / "scores").exists()


def fails_on_blank(self: JpegReward, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> Any:
    if any((image == BLANK).all() for image in images):
        raise RuntimeError("no contrast")
    return [({"compressibility": -1.0, "incompressibility": 1.0}, {}) for _ in images]


def test_images_that_a_reward_cannot_score_are_left_out_counted_and_alarmed_where_settings_say_so(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JpegReward, "score", fails_on_blank)
    inputs = {**shard.write(), "scores_out": shard.root / "scores"}
    settings = RewardSettings(name="jpeg", column="compressibility", on_error="drop", most_dropped=0.5)
    events = journalled(shard.root / "journal", monkeypatch, settings=settings, **inputs)
    blank = [rollout.rollout_id for rollout in shard.rollouts[1::2]]
    assert [score.rollout_id for score in read_scores(shard.root / "scores")] == [
        rollout.rollout_id for rollout in shard.rollouts[::2]
    ]
    assert read_metadata(shard.root / "scores")["dropped"] == blank
    (alarm,) = [event for event in events if event["event"] == "alarm"]
    assert alarm["message"].startswith("3 of 6 images could not be scored and are left out; the first: ")
    assert blank[0] in alarm["message"]
    assert "no contrast" in alarm["message"]
    with pytest.raises(RewardError, match=r"3 of 6 images could not be scored, more than a share of 0\.05"):
        run(settings.model_copy(update={"most_dropped": 0.05}), **{**inputs, "scores_out": shard.root / "none"})
    assert not (shard.root / "none").exists()


def test_several_terms_write_the_columns_of_each_reward_once(shard: Shard) -> None:
    inputs = shard.write()
    run(SEVERAL, **inputs, scores_out=shard.root / "scores")
    scores, metadata = read_scores(shard.root / "scores"), read_metadata(shard.root / "scores")
    assert metadata["columns"] == list(scores[0].rewards) == [
        "strict", "soft", "jpeg.compressibility", "jpeg.incompressibility", "layout.contrast", "layout.centring",
        "layout.beauty",
    ]  # fmt: skip
    for name, column in (("shapes", "soft"), ("jpeg", "compressibility"), ("layout", "beauty")):
        run(RewardSettings(name=name, column=column), **inputs, scores_out=shard.root / name)
        alone = read_scores(shard.root / name)
        written = column if name == "shapes" else f"{name}.{column}"
        assert [score.rewards[written] for score in scores] == [score.rewards[column] for score in alone]
        assert [score.details[name] for score in scores] == [score.details for score in alone]
        assert alone[0].version in scores[0].version
    assert metadata["rewards"]["jpeg"] == {"version": JpegReward().version, "higher_is_better": True}


def test_two_terms_of_one_reward_leave_the_scores_as_they_are_with_one(shard: Shard) -> None:
    inputs = shard.write()
    run(SHAPES, **inputs, scores_out=shard.root / "one")
    both = RewardSettings(others=(RewardTerm(name="shapes", column="strict"),))
    run(both, **inputs, scores_out=shard.root / "two")
    for name in ("scores.parquet", "metadata.json"):
        assert (shard.root / "one" / name).read_bytes() == (shard.root / "two" / name).read_bytes()


def test_every_column_of_several_rewards_has_its_mean_and_its_alarm(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.rollouts = shard.rollouts[1::2]  # the blank ones
    arguments = {"settings": SEVERAL, **shard.write(), "scores_out": shard.root / "scores"}
    events = journalled(shard.root / "journal", monkeypatch, **arguments)
    values = next(event["values"] for event in events if event["event"] == "metrics")
    assert values["reward/layout.beauty_mean"] == 0.0
    assert values["reward/jpeg.compressibility_mean"] < 0
    assert values["alarm/layout.beauty_identical"] == values["alarm/jpeg.compressibility_identical"] == 1.0
    assert values["reward/strict/counting"] == 0.0


def test_the_scores_say_what_the_images_of_the_shard_look_like(shard: Shard) -> None:
    run(SHAPES, **shard.write(), scores_out=shard.root / "scores")
    told = read_metadata(shard.root / "scores")["image_statistics"]
    assert {name: one["of"] for name, one in told.items()} == {
        "dark_fraction": 6, "saturated_fraction": 6, "colour_entropy": 6, "sharpness": 6, "diversity": 3,
    }  # fmt: skip
    shard.rollouts = shard.rollouts[1::2]  # the blank ones
    run(SHAPES, **shard.write(), scores_out=shard.root / "blank")
    blank = read_metadata(shard.root / "blank")["image_statistics"]
    assert blank["sharpness"] == {"mean": 0.0, "of": 3}
    assert told["sharpness"]["mean"] > 0
    assert "diversity" not in blank


LIGHT = """
import json, sys
from pathlib import Path
sys.path.insert(0, {components!r})
from advantageflow.scoring.stage import run
from advantageflow.settings import RewardSettings, RewardTerm
run(RewardSettings(), prompts=Path("prompts"), rollouts=Path("rollouts"), scores_out=Path("scores"))
heavy = ("torch", "diffusers", "transformers", "peft", "mlflow", "kfp", "matplotlib")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def test_a_fresh_process_scores_shapes_without_torch_or_any_other_heavy_package(shard: Shard) -> None:
    shard.write()
    script = LIGHT.format(components=str(Path(advantageflow.__file__).parent.parent))
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=shard.root, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []
    assert len(read_scores(shard.root / "scores")) == len(shard.rollouts)
