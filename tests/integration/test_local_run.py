"""`advantageflow run` from end to end: in one process and by Kubeflow's local runner, MLflow on sqlite."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from commands import processes_of, start
from fastapi.testclient import TestClient
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from local_runs import LONGEST_RUN, TINY, Run, advantageflow, complete, opened, wait_for
from mlflow.pyfunc import scoring_server
from summaries import comparable

from advantageflow.errors import PolicyError
from advantageflow_pipelines.local.summary import is_complete
from advantageflow_pipelines.local.workdir import TASK_DONE, WorkDir, open_workdir

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two rounds with two shards, in one process."""
    return complete(*TINY, "--workdir", "run", cwd=tmp_path_factory.mktemp("two-shards"))


def test_a_run_tells_its_rounds_line_by_line_and_ends_with_a_table(run: Run) -> None:
    for words in ("base: strict accuracy", "round 1/2: strict accuracy", "round 2/2: strict accuracy", "mean of tasks"):
        assert run.output.count(words) == 1
    assert "round 2 rollout: " in run.output
    assert "overhead" in run.output
    assert str(run.workdir.report) in run.output


def test_the_summary_has_what_is_promised(run: Run) -> None:
    summary = run.summary
    assert (summary["preset"], summary["algorithm"], summary["seed"]) == ("tiny", "advantage_flow", 0)
    assert [entry["round"] for entry in summary["rounds"]] == [1, 2]
    for part in (summary["base"], summary["final"], *summary["rounds"]):
        assert 0 <= part["strict"] <= 1
        assert part["strict_ci95"][0] <= part["strict"] <= part["strict_ci95"][1]
        assert set(part["tasks"]) == {"single_object", "two_object", "counting", "colors", "position", "color_attr"}
    assert summary["difference"]["strict"] == pytest.approx(summary["final"]["strict"] - summary["base"]["strict"])
    assert summary["rounds"][-1].items() >= {"round": 2, **summary["final"]}.items()
    assert [entry["generated"] for entry in summary["rounds"]] == [24, 48]
    spent = [entry["training_seconds"] for entry in summary["rounds"]]
    assert 0 < spent[0] < spent[1] < summary["seconds"]
    assert 0 < summary["overhead"]["share"] < 1
    assert set(summary["overhead"]["stages"]) == {"prompts", "rollout", "reward", "training", "evaluation"}


def test_each_round_trained_on_the_policy_before_it(run: Run) -> None:
    policies = {number: json.loads((folder / "state.json").read_text()) for number, folder in
                opened(run).policies().items()}  # fmt: skip
    assert [(state["round"], state["policy_sha256"] is not None) for state in policies.values()] == [
        (0, False),
        (1, True),
        (2, True),
    ]
    assert policies[2]["step"] == 2 * policies[1]["step"] > 0
    assert policies[2]["policy_sha256"] == run.summary["policy_sha256"] != policies[1]["policy_sha256"]
    judged = {number: json.loads((folder / "metrics.json").read_text())["policy_sha256"] for number, folder in
              opened(run).reports().items()}  # fmt: skip
    assert judged == {number: state["policy_sha256"] for number, state in policies.items()}


def test_pictures_and_log_lie_in_the_working_folder(run: Run) -> None:
    from PIL import Image

    with Image.open(run.workdir.report / "before-after.png") as picture:
        assert min(picture.size) > 200
    assert "training/loss" in run.workdir.log_file.read_text()


def test_mlflow_has_the_run_with_curves_settings_pictures_and_a_child_for_each_task(run: Run) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run.workdir.root.parent / 'runs' / 'mlflow.db'}")
    parent = client.get_run(run.summary["mlflow_run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.params["rollout.group_size"] == "4"
    assert [point.step for point in client.get_metric_history(parent.info.run_id, "evaluation/strict")] == [0, 1, 2]
    assert parent.inputs.dataset_inputs
    kept = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert kept == {"report/before-after.png", "report/report.html"}
    assert (parent.info.run_name or "").startswith("shapes, shapes.soft, advantage_flow: strict accuracy ")
    note = parent.data.tags["mlflow.note.content"]
    assert f"| **mean of tasks** | {run.summary['base']['strict']:.3f} |" in note
    assert not any(name.startswith("warnings/") for name in parent.data.metrics) or "alarm" in parent.data.tags
    experiment = client.get_experiment(parent.info.experiment_id)
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "evaluation/strict"
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    children = client.search_runs([parent.info.experiment_id], query)
    stages = sorted(child.data.tags["stage"] for child in children)
    assert stages == ["evaluation"] * 3 + ["pictures", "prompts"] + ["reward"] * 2 + ["rollout"] * 2 + ["training"] * 2
    assert {child.info.status for child in children} == {"FINISHED"}


def test_a_run_of_a_process_a_task_continues_after_one_was_killed_and_gives_the_policy_of_one_process(
    run: Run, tmp_path: Path
) -> None:
    import yaml

    root, arguments = tmp_path / "run", ("--runner", "subprocess", "--rounds", "1", "--set", "rollout.shards=1")
    with start(*TINY, *arguments, "--workdir", "run", cwd=tmp_path) as process:
        journal = wait_for(root, "journal/training-r001*.jsonl")
        os.kill(json.loads(journal.read_text().splitlines()[0])["pid"], signal.SIGKILL)
        output, _ = process.communicate(timeout=LONGEST_RUN)
    assert process.returncode == 1, output
    assert "round 1 training ended without a word" in output
    assert "advantageflow run --resume run" in output

    again = complete("run", "--resume", "run", cwd=tmp_path)
    assert "continuing after 4 complete tasks" in again.output
    assert len(list(root.glob("journal/rollout-r001*"))) == 1, "what is complete is not generated again"
    assert again.summary["base"] == run.summary["base"]
    after_one_round = json.loads((opened(run).policies()[1] / "state.json").read_text())
    assert again.summary["policy_sha256"] == after_one_round["policy_sha256"]
    assert again.summary["seconds"] > again.summary["overhead"]["of_seconds"]
    pipeline = yaml.load(again.workdir.pipeline_file.read_text(), yaml.CSafeLoader)
    json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
    assert "SUCCESS" in again.workdir.log_file.read_text()


def test_an_interrupted_run_ends_says_how_to_continue_and_continues_to_the_same_result(
    run: Run, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    with start(*TINY, "--workdir", "run", cwd=tmp_path) as process:
        wait_for(root, "journal/training-r001*.jsonl")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)  # it takes 15 s at most, on a machine that has them
    assert process.returncode == 130
    assert f"continue with: advantageflow run --resume {root}" in output
    assert processes_of(root) == []

    rollouts = root / "artifacts" / "online" / "rollout-1" / "rollouts" / "rollouts.parquet"
    before = rollouts.stat().st_mtime_ns
    done = len(list(root.glob(f"artifacts/online/*/{TASK_DONE}")))
    assert done in (4, 5)  # on a busy machine the training has ended before it is asked to
    again = complete("run", "--resume", "run", cwd=tmp_path)
    assert f"continuing after {done} complete tasks" in again.output
    assert rollouts.stat().st_mtime_ns == before
    assert comparable(again.summary) == comparable(run.summary)


def test_a_complete_run_is_shown_again_and_nothing_is_done(run: Run) -> None:
    before = sorted(run.workdir.journal.iterdir())
    again = advantageflow("run", "--resume", str(run.workdir.root), cwd=run.workdir.root.parent)
    assert again.status == 0
    assert "is complete" in again.output
    assert "mean of tasks" in again.output
    assert sorted(run.workdir.journal.iterdir()) == before


def test_a_complete_run_whose_last_weights_were_altered_is_not_taken_for_whole(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.workdir.root, tmp_path / "run")
    workdir = open_workdir(tmp_path / "run")
    warnings: list[str] = []
    assert is_complete(workdir, warnings.append) == run.summary
    policy = workdir.policies()[2]
    weights = policy / "policy" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    for damaged in (content, content[:-100]):
        weights.write_bytes(damaged)
        with pytest.raises(PolicyError, match=str(weights)):
            is_complete(workdir, warnings.append)
    shutil.rmtree(policy)
    assert warnings == []
    assert is_complete(workdir, warnings.append) is None
    assert "it is made again" in warnings[0]


def test_the_tuned_and_the_base_model_draw_pictures_of_their_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    drawn = {}
    for model in ("base", str(run.workdir.root)):
        out = tmp_path / f"{len(drawn)}.png"
        done = advantageflow("generate", "a red circle left of a blue star", "-o", str(out), "-m", model, cwd=tmp_path)
        assert done.status == 0, done.output
        with Image.open(out) as picture:
            assert picture.size == (48, 48)
            drawn[model] = picture.tobytes()
    assert len(set(drawn.values())) == 2
    assert "after round 2" in done.output
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{run.workdir.root.parent / 'runs' / 'mlflow.db'}")
    served = serve(run)
    asked = {"inputs": ["a red circle left of a blue star", "a circle"], "params": {"seed": 0, "steps": 2}}
    pictures = served.post("/invocations", json=asked).json()["predictions"]
    with Image.open(io.BytesIO(base64.b64decode(pictures[0]))) as picture:
        assert picture.tobytes() == drawn[str(run.workdir.root)], "a registered policy draws what the run's own does"
    assert pictures[0] != pictures[1]
    refused = served.post("/invocations", json={**asked, "params": {"steps": 0}})
    assert (refused.status_code >= 400, "steps" in refused.text) == (True, True)


def serve(run: Run) -> TestClient:
    """What `mlflow models serve` starts, for the version that the run registered."""
    import mlflow

    return TestClient(scoring_server.init(mlflow.pyfunc.load_model(run.summary["registered"])))


def test_a_champion_is_retrained_judged_and_left_alone_where_nothing_has_changed(run: Run) -> None:
    folder = run.workdir.root.parent
    assert run.summary["registered"] == "models:/tiny/1"
    chosen = advantageflow("rollback", "tiny", "--to", "1", cwd=folder)
    assert "models:/tiny@champion is version 1" in chosen.output
    retraining = (*TINY, "--pipeline", "retraining", "--rounds", "1", "--workdir")
    done = advantageflow(*retraining, "retrained", cwd=folder)
    assert done.status == 0, done.output
    longer = Run(WorkDir(folder / "retrained"), done.output)
    assert longer.summary["start"] == run.summary["final"], "it goes on from the champion"
    assert longer.summary["base"] == run.summary["base"]
    assert longer.summary["difference_to_base"]["strict"] == pytest.approx(
        longer.summary["final"]["strict"] - longer.summary["base"]["strict"]
    )
    page = (longer.workdir.report / "report.html").read_text()
    assert all(f'<div class="card">{name}<' in page for name in ("base", "champion", "candidate"))
    assert all(f'<div class="card">change from {name}<' in page for name in ("champion", "base"))
    state = json.loads((opened(longer).policies()[0] / "state.json").read_text())
    assert state["policy_sha256"] == run.summary["policy_sha256"]
    assert state["provenance"]["continued_from"]["path"] == "models:/tiny/1"
    [decision] = [json.loads(path.read_text()) for path in longer.workdir.root.rglob("decision.json")]
    assert len(decision["changes"]) == 2
    champion = 2 if decision["promote"] else 1
    assert ("is champion now" if decision["promote"] else "is kept as a candidate") in longer.summary["outcome"]

    again = advantageflow(*retraining, "again", cwd=folder)
    assert (again.status, "nothing to do" in again.output, (folder / "again").exists()) == (0, True, False)
    refused = advantageflow("rollback", "tiny", "--to", str(champion), cwd=folder)
    assert (refused.status, f"version {champion} is champion already" in refused.output) == (2, True)
    advantageflow("rollback", "tiny", "--to", "2", cwd=folder)
    promoted = advantageflow(*retraining, "again", cwd=folder)
    assert "nothing to do: the champion, version 2, was made from the same" in promoted.output
