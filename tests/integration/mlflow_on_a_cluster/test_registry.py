"""Policies in the registry of a real MLflow server: versions, the champion, several at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from registered import DECISION, KNOWN, concluded, pipeline_run, registration

from advantageflow.records import STATE_FILE
from advantageflow.store.prompts import read_known
from advantageflow.tracking.champion import Superseded, champion, change_champion, reigns
from advantageflow.tracking.mlflow_store import open_client
from advantageflow.tracking.promotion import inputs_sha256, look
from advantageflow.tracking.registration import register
from advantageflow.tracking.registry import local_policy

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_a_version_says_where_it_comes_from_and_comes_back_whole(client: MlflowClient, tmp_path: Path) -> None:
    run = pipeline_run(client, "come-back")
    tags = {"mlflow.parentRunId": run.info.run_id}
    judged = client.create_run(run.info.experiment_id, tags=tags, run_name="round 2 / evaluation")
    client.log_metric(judged.info.run_id, "evaluation/red", 0.75, step=2)
    made = register(client, run, "whole", registration(tmp_path, "a" * 64))
    again = register(client, run, "whole", registration(tmp_path / "again", "a" * 64))
    assert again.version == made.version == "1", "a task that is tried again registers nothing twice"
    assert made.tags.items() >= {
        "policy_sha256": "a" * 64, "base": "shapes", "base_sha256": "b" * 64, "reward": "shapes.soft",
        "reward_version": '{"shapes": "1"}', "seed": "7", "rounds": "2", "mlflow.source.git.commit": "c0ffee",
        "lock.sha256": "f00d",
    }.items()  # fmt: skip
    assert "| colours | 0.250 | 0.750 |" in made.description
    [output] = client.get_run(run.info.run_id).outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert {(metric.key, metric.value) for metric in logged.metrics} == {("evaluation/red", 0.75)}
    fetched = local_policy("models:/whole@candidate", client.tracking_uri)
    assert (fetched / STATE_FILE).is_file()
    assert read_known(fetched) == set(KNOWN)
    assert json.loads((fetched / "registered.json").read_text()) == {"address": "models:/whole/1"}
    assert not (tmp_path / "mlflow.db").exists(), "nothing went to another store"


def test_a_candidate_replaces_the_champion_that_it_started_from_and_no_other(
    client: MlflowClient, tmp_path: Path
) -> None:
    def conclude_one(sha: str, **more: object) -> object:
        return concluded(client, tmp_path / sha, sha * 64, **more)  # type: ignore[arg-type]

    first = conclude_one("1")
    assert str(first) == "models:/tuned/1 is champion now"
    assert conclude_one("2", parent="models:/tuned/1").promoted  # type: ignore[attr-defined]
    late = conclude_one("3", parent="models:/tuned/1")
    assert "the champion is version 2, not version 1" in str(late)
    worse = conclude_one("4", parent="models:/tuned/2", decision=DECISION | {"reasons": ["no better", "alarm: dark"]})
    assert str(worse) == "models:/tuned/4 is kept as a candidate: no better; alarm: dark"
    kept = client.get_model_version("tuned", "4")
    assert kept.tags["promotion"] == "kept"
    assert "- no better\n- alarm: dark" in kept.description
    assert client.get_model_version_by_alias("tuned", "champion").version == "2"
    assert [one.version for one in reigns(client, "tuned")] == [None, "1", "2"]

    client.set_registered_model_alias("tuned", "champion", "4")  # on MLflow's pages
    assert champion(client, "tuned").reason == "set by hand"
    change_champion(client, "tuned", "4", "2", "rolled back")
    assert client.get_model_version_by_alias("tuned", "champion").version == "2"


def test_of_several_at_once_one_becomes_champion(client: MlflowClient, tmp_path: Path) -> None:
    for number in range(4):
        what = registration(tmp_path / str(number), f"{number}" * 64)
        register(client, pipeline_run(client, "race"), "race", what)
    change_champion(client, "race", None, "1", "first")

    def promote(version: str) -> str:
        try:
            change_champion(open_client(client.tracking_uri), "race", "1", version, "at once")
        except Superseded:
            return ""
        return version

    with ThreadPoolExecutor(3) as pool:
        [winner] = filter(None, pool.map(promote, ("2", "3", "4")))
    assert champion(client, "race").version == winner
    assert [one.version for one in reigns(client, "race")] == [None, "1", winner]


def test_a_change_whose_author_died_is_completed_by_who_comes_next(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        what = registration(tmp_path / str(number), f"{number}" * 64)
        register(client, pipeline_run(client, "dead"), "dead", what)
    change_champion(client, "dead", None, "1", "first")

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "set_registered_model_alias", dies)
        with pytest.raises(KeyboardInterrupt):
            change_champion(client, "dead", "1", "2", "its author dies")
    assert client.get_model_version_by_alias("dead", "champion").version == "1"
    assert champion(client, "dead").version == "2"
    assert client.get_model_version_by_alias("dead", "champion").version == "2"


def test_equal_inputs_are_recognised_until_the_prompts_or_the_settings_change(
    client: MlflowClient, tmp_path: Path
) -> None:
    settings = {"prompts": {"source": "here", "eval_prompts": 6}, "training": {"learning_rate": 1.0}, "tracking": {}}
    made_from = {"source_sha256": "1", "reward_versions": {"shapes": "1"}}
    inputs = inputs_sha256(settings, made_from)
    assert inputs == inputs_sha256({**settings, "prompts": {"source": "there", "eval_prompts": 6}}, made_from)
    assert inputs != inputs_sha256({**settings, "training": {"learning_rate": 2.0}}, made_from)
    assert inputs != inputs_sha256(settings, made_from | {"source_sha256": "2"})
    assert look(client, "grown", inputs).parent == ""
    run = pipeline_run(client, "grown")
    register(client, run, "grown", registration(tmp_path, "1" * 64))
    client.set_model_version_tag("grown", "1", "inputs_sha256", inputs)
    assert "version 1 was made from the same start and inputs" in look(client, "grown", inputs).unchanged
    change_champion(client, "grown", None, "1", "first")
    start = look(client, "grown", inputs)
    assert (start.parent, "the champion, version 1" in start.unchanged) == ("models:/grown/1", True)
    assert look(client, "grown", "others").unchanged == ""
