"""`advantageflow run --runner docker`: the embedded pipeline in the stages' images, against the same in processes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import commands
import pytest
from commands import start
from docker.client import DockerClient
from summaries import comparable

from advantageflow.golden_checks.pictures import SCORES, golden_folder
from advantageflow_pipelines.local.runners import WORKDIR_LABEL
from advantageflow_pipelines.local.workdir import WorkDir
from advantageflow_pipelines.pipelines.online.definition import ONLINE

pytestmark = pytest.mark.slow

TINY = ("run", "--preset", "tiny", "--rounds", "1", "--workdir", "run")
LONGEST_RUN = 900  # seconds, on a busy machine
OWN_REWARD = """
class Mine:
    name, version, columns, higher_is_better = "mine", "1", {"mean": (0.0, 1.0)}, True

    def check(self, prompt):
        pass

    def score(self, prompts, images):
        return [({"mean": float(image.mean()) / 255}, {}) for image in images]
"""


advantageflow = partial(commands.advantageflow, longest=LONGEST_RUN)


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONGEST_RUN
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.05)


def test_a_run_in_containers_is_interrupted_continued_and_ends_with_the_policy_of_processes(
    engine: DockerClient, images_file: Path, tmp_path: Path
) -> None:
    (inside := tmp_path / "containers").mkdir()
    (outside := tmp_path / "processes").mkdir()
    with start(*TINY, "--runner", "docker", "--images", str(images_file), cwd=inside) as process:
        wait_for(inside / "run", "journal/rollout-r001*.jsonl", process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "base: strict accuracy" in output
    label = f"{WORKDIR_LABEL}={inside / 'run'}"
    assert engine.containers.list(all=True, filters={"label": label}) == []

    continued = advantageflow("run", "--resume", "run", cwd=inside)
    assert continued.status == 0, continued.output
    assert "continuing after 2 complete tasks" in continued.output
    assert "round 1 rollout, shard 2: " in continued.output
    assert engine.containers.list(all=True, filters={"label": label}) == []

    same = advantageflow(*TINY, cwd=outside)
    assert same.status == 0, same.output
    summaries = [json.loads(WorkDir(folder / "run").summary_file.read_text()) for folder in (inside, outside)]
    assert summaries[0]["policy_sha256"] == summaries[1]["policy_sha256"]
    assert comparable(summaries[0]) == comparable(summaries[1])
    in_stages = {json.loads(line)["stage"] for path in (inside / "run" / "journal").iterdir()
                 for line in path.read_text().splitlines() if json.loads(line)["event"] == "start"}  # fmt: skip
    assert in_stages == set(ONLINE.stage_names)


def test_a_stage_that_fails_in_its_container_says_why_and_sees_the_files_that_the_settings_name(
    images_file: Path, tmp_path: Path
) -> None:
    golden = json.loads((golden_folder() / SCORES).read_text())
    picture = golden["shapes"]["scores"]["red-circle"]
    picture["soft"] = 1 - picture["soft"]
    (tmp_path / "golden.json").write_text(json.dumps(golden))
    own = ("--set", "reward.golden=golden.json")
    done = advantageflow(*TINY, *own, "--runner", "docker", "--images", str(images_file), cwd=tmp_path)
    words = " ".join(done.output.split())
    assert done.status == 2, done.output
    assert "prompts failed" in words
    assert "golden picture 'red-circle'" in words
    assert "Traceback" not in words
    assert not list((tmp_path / "run" / "artifacts").rglob("*.parquet"))


def test_a_reward_of_one_s_own_that_is_not_in_the_images_stops_the_run_before_anything_is_made(
    images_file: Path, images: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "my_rewards.py").write_text(OWN_REWARD)
    own = ("--set", "reward.name=my_rewards:Mine", "--set", "reward.column=mean")
    done = advantageflow(*TINY, *own, "--runner", "docker", "--images", str(images_file), cwd=tmp_path)
    words = " ".join(done.output.split())
    assert done.status == 2, done.output
    assert "reward my_rewards:Mine cannot be made there" in words
    assert images["prompts"] in words
    assert "install their package in an image" in words
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("engine")
def test_images_that_are_not_there_are_named_with_how_to_get_them_before_anything_is_made(tmp_path: Path) -> None:
    named = {stage: f"registry.example/{stage}:1" for stage in ONLINE.stage_names}
    (tmp_path / "images.json").write_text(json.dumps(named))
    done = advantageflow(*TINY, "--runner", "docker", "--images", "images.json", cwd=tmp_path)
    assert done.status == 2, done.output
    assert all(image in done.output for image in named.values())
    assert "docker/build.sh" in done.output
    assert not (tmp_path / "run").exists()
