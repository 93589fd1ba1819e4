"""A run in segments: together they do what the whole run does, and each starts the next."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from kfp_stub.server import Fault, KfpStub, said

from advantageflow.errors import ClusterError
from advantageflow.tracking import continuing
from advantageflow.tracking.continuing import continue_run, still_going
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import make_connection
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.runs import follow_segments, segments_of
from advantageflow_pipelines.client.stages import pipeline_tasks
from advantageflow_pipelines.commands import run_actions
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines.definition import divide
from advantageflow_pipelines.pipelines.online.definition import ONLINE
from advantageflow_pipelines.placing import cluster
from advantageflow_pipelines.placing.cluster import ClusterRun, cluster_run
from advantageflow_pipelines.placing.images import default_images

Command = Callable[..., tuple[int, str, str]]
Json = dict[str, Any]
HANDED = {name: f"s3://bucket/{name}" for name in ONLINE.handed}
_OWN = ("opening", "continuing", "importer")


def work_of(package: Package) -> Json:
    """What each stage task of a pipeline, or of all its segments, is given, and what it runs; by round and name."""
    found: Json = {}

    def value(source: Json, values: Json, tasks: Json, artifacts: Json) -> Any:
        if "taskOutputArtifact" in source:
            producer, output = source["taskOutputArtifact"].values()
            made_by = tasks[source["taskOutputArtifact"]["producerTask"]]
            if "importer" in made_by["componentRef"]["name"]:
                return made_by["inputs"]["parameters"]["uri"]["componentInputParameter"].rpartition("--")[2]
            return sorted((producer, output))
        key = source.get("componentInputArtifact") or source.get("componentInputParameter")
        return (artifacts | values).get(key, key) if key else source["runtimeValue"]["constant"]

    def walk(component: Json, values: Json, artifacts: Json, where: str) -> None:
        tasks = component["dag"]["tasks"]
        for name, task in tasks.items():
            inputs = task.get("inputs", {})
            given = {key: value(one, values, tasks, artifacts) for key, one in inputs.get("parameters", {}).items()}
            taken = {key: value(one, values, tasks, artifacts) for key, one in inputs.get("artifacts", {}).items()}
            part = package.component(task)
            if "dag" in part:
                walk(part, given, taken, where if name.startswith("exit") else f"{where}{name}/")
            elif not name.startswith(_OWN):
                number = given.get("round_index", "")
                stage = name.rstrip("-0123456789")
                found[f"{where}{stage} {number}"] = [given, taken, task["cachingOptions"], package.executor(part)]

    for root in package.roots:
        inner = {name: task for name, task in root["dag"]["tasks"].items() if name != "closing"}
        walk({"dag": {"tasks": inner}}, {}, {}, "")
    return found


def named(artifact: Any) -> Any:
    """An artifact by what it is: made in the segment, or handed to it."""
    text = json.dumps(artifact)
    for name, made in {
        "prompts_uri": '["prompts", "prompts"]', "conditioning_uri": '["conditioning", "prompts"]',
        "base_uri": '["evaluation", "report"]',
    }.items():  # fmt: skip
        text = text.replace(made, f'"{name}"')
    return json.loads(text)


@pytest.fixture(scope="module")
def run() -> ClusterRun:
    settings = choose_settings(preset="tiny", assignments=["rounds=4"])
    return cluster_run(settings, default_images(ONLINE), "cpu")


def test_the_segments_of_a_run_do_what_the_whole_run_does_with_the_same_inputs(run: ClusterRun) -> None:
    whole = work_of(run.package())
    divided = work_of(ClusterRun(run.settings, run.images, run.resources, divide(4, 2)).package())
    assert divided.keys() == whole.keys()
    assert len(whole) == 1 + 4 * 3 + ONLINE.tasks(run.settings)["evaluation"]
    for task, (given, taken, *rest) in whole.items():
        handed_given, handed_taken, *handed_rest = divided[task]
        assert (handed_given, handed_rest) == (given, rest), task
        for policy in ("policy", "rollout_policy"):
            made, handed = taken.pop(policy, None), handed_taken.pop(policy, None)
            assert handed == made or (handed == f"{policy}_uri" and made == sorted([policy, "round-02"])), task
        assert named(handed_taken) == named(taken), task


@pytest.fixture
def started(advantageflow: Command, server: KfpStub, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first segment of a run of three rounds."""
    monkeypatch.setattr(cluster, "ROOM", 0.0)
    monkeypatch.setattr(cluster, "HALF", 0.0)
    arguments = ("--preset", "tiny", "--rounds", "3", "--run-name", "long", "--image", "registry.example/stage:1")
    status, out, _ = advantageflow("submit", *arguments, "--host", server.url)
    assert status == 0
    assert "3 pipeline runs that continue each other, of up to 1 rounds" in out
    [run_id] = server.state.runs
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", run_id)
    return run_id


def last_run(server: KfpStub) -> Json:
    return dict(list(server.state.runs.values())[-1])


def test_a_segment_starts_the_next_once_with_what_it_hands_on(
    started: str, server: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        continue_run("2-2", HANDED, {"told": "so"})
    second = last_run(server)
    monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", second["run_id"])
    continue_run("3-3", HANDED | {"policy": "s3://bucket/later"})
    first, _, third = server.state.runs.values()
    assert [one["display_name"] for one in (first, second, third)] == [
        "long", "long (rounds 2-2)", "long (rounds 3-3)",
    ]  # fmt: skip
    addresses = {f"{name}_uri": uri for name, uri in HANDED.items()}
    assert second["runtime_config"]["parameters"] == {"first_run": started, **addresses, "told": "so"}
    assert third["runtime_config"]["parameters"]["first_run"] == started
    assert third["runtime_config"]["parameters"]["told"] == "so"
    assert third["runtime_config"]["parameters"]["policy_uri"] == "s3://bucket/later"
    for name in ("experiment_id", "service_account", "description"):
        assert third[name] == first[name]
    spec = third["pipeline_spec"]["pipeline_spec"]
    assert spec["root"] == first["pipeline_spec"]["pipeline_spec"]["components"]["segment-3-3"]
    assert third["pipeline_spec"]["platform_spec"] == first["pipeline_spec"]["platform_spec"]
    assert set(spec["root"]["inputDefinitions"]["parameters"]) >= {"first_run", *addresses}


def test_all_segments_are_found_from_each_and_followed_one_after_the_other(started: str, server: KfpStub) -> None:
    continue_run("2-2", HANDED)
    api = Api(make_connection(server.url))
    later = last_run(server)["run_id"]
    others = {**last_run(server), "runtime_config": {"parameters": {}}}
    server.state.create_run({name: one for name, one in others.items() if name != "run_id"})
    for run_id in (started, later):
        assert [one.run_id for one in segments_of(api, run_id)] == [started, later]
    assert list(follow_segments(api, started)) == [started, later]
    alone = last_run(server)["run_id"]
    assert [one.run_id for one in segments_of(api, alone)] == list(follow_segments(api, alone)) == [alone]


def test_following_goes_from_one_segment_to_the_next(started: str, server: KfpStub, advantageflow: Command) -> None:
    continue_run("2-2", HANDED)
    status, out, _ = advantageflow("runs", "follow", started, "--host", server.url)
    assert status == 0
    assert f"run {last_run(server)['run_id']} succeeded" in out


def test_cancelling_any_segment_ends_the_one_that_goes_on(
    started: str, server: KfpStub, advantageflow: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_actions, "POLL_SECONDS", 0.01)
    continue_run("2-2", HANDED)
    second = last_run(server)["run_id"]
    server.state.stories[second] = [{"state": "RUNNING"}]
    status, out, _ = advantageflow("runs", "cancel", started, "--host", server.url)
    assert (status, out) == (0, f"run {second} was cancelled\n")
    assert server.state.runs[started]["state"] == "SUCCEEDED"


def test_tasks_of_later_segments_are_not_taken_for_those_of_the_first(run: ClusterRun) -> None:
    package = ClusterRun(run.settings, run.images, run.resources, divide(4, 2)).package()
    tasks = pipeline_tasks(package.as_json())
    assert [name for name in tasks if name.startswith("round")] == ["round-01", "round-02"]
    assert "continuing" in tasks
    assert not [name for name in tasks if name.startswith("importer")]


def test_a_run_of_a_schedule_finds_its_pipeline_in_its_version(started: str, server: KfpStub) -> None:
    spec = server.state.runs[started].pop("pipeline_spec")
    pipeline = server.state.create_pipeline({"display_name": "p"})["pipeline_id"]
    reference = {"pipeline_id": pipeline, "pipeline_version_id": "v"}
    server.state.versions["v"] = {**reference, "pipeline_spec": spec}
    server.state.runs[started]["pipeline_version_reference"] = reference
    continue_run("2-2", HANDED)
    segment = spec["pipeline_spec"]["components"]["segment-2-2"]
    assert last_run(server)["pipeline_spec"]["pipeline_spec"]["root"] == segment


def test_a_run_of_a_schedule_sees_an_earlier_one_in_any_of_its_segments(
    started: str, server: KfpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, first = server.state, server.state.runs[started]
    server.state.story = [{"state": "RUNNING"}]

    def scheduled(schedule: str, name: str) -> str:
        body = {one: first[one] for one in ("experiment_id", "pipeline_spec")}
        return str(state.create_run({**body, "display_name": name, "recurring_run_id": schedule})["run_id"])

    assert still_going() is None, "no schedule started it"
    first["recurring_run_id"] = "weekly"
    continue_run("2-2", HANDED)
    second = last_run(server)["run_id"]
    state.stories[started] = [{"state": "SUCCEEDED"}]
    for number in range(100):  # a page of others
        other = {"run_id": f"other-{number}", "display_name": "other", "state": "SUCCEEDED"}
        state.runs[other["run_id"]] = {**first, **other}
    daily, later = scheduled("daily", "daily-1"), scheduled("weekly", "weekly-2")
    for run_id, expected in ((started, None), (daily, None), (later, f"'long (rounds 2-2)' (run {second})")):
        monkeypatch.setenv("ADVANTAGEFLOW_PIPELINE_RUN_ID", run_id)
        assert still_going() == expected
    state.runs[second]["storage_state"] = "ARCHIVED"
    assert still_going() is None
    state.runs[second].update(storage_state="AVAILABLE", state="FAILED")
    assert still_going() is None


def test_a_server_that_is_away_is_asked_again_and_a_refusal_is_told(
    started: str, server: KfpStub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(continuing, "_WAITS", (0, 0))
    server.faults["run_service_get_run"] = [said(503, "no upstream")]
    server.faults["run_service_create_run"] = [Fault(0, b"")]
    continue_run("2-2", HANDED)
    assert len(server.state.runs) == 2
    assert "is away (HTTP Error 503" in capsys.readouterr().err
    server.faults["run_service_get_run"] = [said(403, "this account may not")]
    with pytest.raises(ClusterError, match=r"does not start rounds 3-3: 403 .*this account may not"):
        continue_run("3-3", HANDED)
    server.faults["run_service_get_run"] = [said(503, "no upstream")] * 3
    with pytest.raises(ClusterError, match="does not start rounds 3-3: its API server is away"):
        continue_run("3-3", HANDED)
