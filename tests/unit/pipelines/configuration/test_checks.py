"""What is found wrong before a run starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advantageflow.errors import DataError, PolicyError, SettingsError, StoreError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.checks import check_disk, check_run, disk_needed
from advantageflow_pipelines.configuration.choices import choose_settings


def chosen(*assignments: str) -> RunSettings:
    return choose_settings(preset="tiny", assignments=["model.name=some/hub-model", *assignments])


def test_the_embedded_prompts_and_reward_pass() -> None:
    check_run(chosen())


@pytest.mark.parametrize(
    ("assignment", "words"),
    [("reward.name=shape", "unknown reward 'shape'"), ("reward.column=sooft", "no column 'sooft'")],
)
def test_an_unknown_reward_or_column_is_found(assignment: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        check_run(chosen(assignment))
    assert "did you mean" in caught.value.remedy


@pytest.mark.parametrize(
    ("others", "where", "words"),
    [
        ("[{name: layuot, column: beauty}]", "reward.others.0.name", "unknown reward 'layuot'"),
        ("[{name: layout, column: beuaty}]", "reward.others.0.column", "reward 'layout' has no column 'beuaty'"),
        ("[{name: shapes, column: soft}]", "reward.others.0", "'shapes.soft' is a duplicate"),
    ],
)
def test_a_wrong_term_among_several_rewards_is_found(others: str, where: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        check_run(chosen(f"reward.others={others}"))
    assert caught.value.where == where


def test_more_pictures_than_a_file_holds_out_prompts_is_found_where_they_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    prompts = [{"text": f"picture {k}", "split": "eval" if k < 2 else "train", "task": "t"} for k in range(5)]
    path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    choice = ["model.name=some/hub-model", f"prompts.source={path}", "rollout.prompts_per_round=3",
              "reward.name=layout", "reward.column=beauty"]  # fmt: skip
    check_run(choose_settings(assignments=choice))  # by default as many as there are
    with pytest.raises(SettingsError, match=r"pictures of 3 held-out prompts .* has 2") as caught:
        check_run(choose_settings(assignments=[*choice, "evaluation.sample_prompts=3"]))
    assert caught.value.where == "evaluation.sample_prompts"
    assert "set it to 2 or less" in caught.value.remedy


def test_a_prompt_that_the_reward_cannot_read_is_found_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    spec = {"tag": "single_object", "include": [{"class": "circle", "count": 1}]}
    good = {"text": "a circle", "split": "train", "task": "single_object", "spec": spec}
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "text": "a dog", "spec": {"include": "dog"}}) + "\n")
    with pytest.raises(DataError) as caught:
        check_run(chosen(f"prompts.source={path}"))
    assert f"{path}:2" in caught.value.where.replace(": line ", ":")


def test_more_prompts_in_a_round_than_there_are_is_found() -> None:
    with pytest.raises(DataError, match="a round takes 100000 prompts"):
        check_run(chosen("rollout.prompts_per_round=100000"))


def test_recorded_scores_of_other_rewards_are_found(tmp_path: Path) -> None:
    file = tmp_path / "golden.json"
    file.write_text('{"mine": {}}')
    with pytest.raises(SettingsError, match=r"none of the run's rewards \(shapes\)"):
        check_run(chosen(f"reward.golden={file}"))
    with pytest.raises(DataError, match="file not found"):
        check_run(chosen(f"reward.golden={tmp_path / 'none.json'}"))


def test_a_corrupt_policy_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(PolicyError, match="corrupt"):
        check_run(chosen(f"init_policy={tmp_path}"))
    with pytest.raises(PolicyError, match="no policy is there"):
        check_run(chosen(f"init_policy={tmp_path / 'none'}"))


def test_a_model_folder_that_is_none_is_found(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no diffusers pipeline"):
        check_run(chosen(f"model.name={tmp_path}"))
    with pytest.raises(PolicyError, match="no such folder"):
        check_run(chosen(f"model.name={tmp_path / 'none'}"))


def test_a_missing_gpu_is_found() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PolicyError, match="GPU"):
        check_run(chosen("model.device=cuda"))


def test_a_disk_without_room_is_found_before_the_folder_exists(tmp_path: Path) -> None:
    check_disk(choose_settings(preset="tiny"), tmp_path / "not" / "yet")
    huge = chosen("rounds=1000", "rollout.group_size=100000")
    assert disk_needed(huge) > 10**12
    with pytest.raises(StoreError, match="MB free, the run needs about"):
        check_disk(huge, tmp_path / "not" / "yet")


def test_a_store_that_is_no_place_or_cannot_be_reached_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="nothing can be published there"):
        check_run(chosen("store.url=gs://bucket/key"))
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "k", "AWS_MAX_ATTEMPTS": "1",
                        "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "r"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9 cannot be reached"):
        check_run(chosen("store.url=s3://bucket/key"))
