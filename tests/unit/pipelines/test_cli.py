"""The command line as a person meets it: help, lists, one message for a mistake."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from advantageflow.policy.location import EMBEDDED_MODEL
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.local.workdir import create_workdir

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("run",),
        ("evaluate",),
        ("generate",),
        ("compile",),
        ("presets",),
        ("rewards", "check"),
        ("submit",),
        ("schedule", "create"),
        ("runs", "follow"),
    ],
)
def test_every_command_explains_itself(advantageflow: Command, command: tuple[str, ...]) -> None:
    status, out, _ = advantageflow(*command, "-h")
    assert status == 0
    assert "Usage: advantageflow" in out


EVERY_WAY = ("run", "plan", "compile", "submit")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--preset", "shape"), "did you mean 'shapes'?"),
        (("run", "--set", "rollout.group_size=1"), "at least 2"),
        (("run", "--resume", "nowhere"), "holds no run to continue"),
        (("run", "--resume", "nowhere", "--seed", "1"), "continued with the settings it has"),
        (("run", "--set", "prompts.source=none.jsonl"), "none.jsonl"),
        (("compile", "-o", "pipeline.json"), "YAML files only"),
        (("compile", "--resources", "multi-nod"), "did you mean 'multi-node'?"),
        (("compile", "--resources", "single-gpu"), "the training stage is given 1 GPU(s), but no setting"),
        (("compile", "--set", "prompts.source=mine.jsonl"), "mine.jsonl is a path of this machine"),
        (("compile", "--set", "reward.options.weights=/dev/null"), "reward.options.weights"),
        *(((name, "--set", "training.gradient_steps=200000"), "some have none") for name in EVERY_WAY),
        *(
            ((name, "--set", "training.learning_rate=1e999"), "1e999 is beyond the range of numbers")
            for name in EVERY_WAY
        ),
        (("compile", "--set", "rollout.prompts_per_round=9000"), "a round takes 9000 prompts, but there are only"),
        (("submit", "--host", "http://localhost:1"), "docker/build.sh --registry REGISTRY --push --images images.json"),
        (("schedule", "create", "--name", "n", "--every", "6h"), "by names that never move"),
        (("resources", "show", "sngle-gpu"), "did you mean 'single-gpu'?"),
        (("generate", "a circle", "--model", "nowhere"), "no policy is there"),
        (("generate", "a circle", "-o", "/"), "is a folder"),
        (("generate", "a circle", "--model", str(EMBEDDED_MODEL)), f"generate --base-model {EMBEDDED_MODEL}"),
        *(
            (one, "an argument is empty")
            for one in (
                ("generate", ""),
                ("runs", "logs", " "),
                ("sync", ""),
                ("plan", "-c", ""),
                ("submit", "--run-name="),
            )
        ),
        (("evaluate", "nowhere"), "no policy is there"),
        (("publish", "nowhere", "shared"), "no policy is there"),
        (("run", "--init-policy", "s3://bucket"), "s3://bucket: is not the address of an S3 object"),
        (("presets", "show", "tinny"), "did you mean 'tiny'?"),
        (("rewards", "check", "none.jsonl"), "none.jsonl"),
        (("ui",), "no MLflow store yet"),
    ],
)
def test_a_mistake_gets_one_message_and_status_2(
    advantageflow: Command, arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    status, _, err = advantageflow(*arguments)
    assert status == 2
    assert err.startswith("error: ")
    assert words in err
    assert "what to do: " in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir()), "a mistake leaves nothing behind"


def test_debug_shows_the_traceback_wherever_it_stands(advantageflow: Command) -> None:
    for arguments in (("--debug", "run", "--preset", "x"), ("run", "--preset", "x", "--debug")):
        status, _, err = advantageflow(*arguments)
        assert status == 2
        assert "Traceback" in err


def test_an_empty_prompt_file_is_refused_before_anything_starts(advantageflow: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    status, _, err = advantageflow("run", "--preset", "tiny", "--set", "prompts.source=empty.jsonl", "-w", "run")
    assert status == 2
    assert "empty.jsonl" in err
    assert not (tmp_path / "run").exists()


def test_lists_show_what_there_is(advantageflow: Command) -> None:
    assert "shapes-long" in advantageflow("presets", "list")[1]
    assert "jpeg" in advantageflow("rewards", "list")[1]
    assert "no runs under runs" in advantageflow("runs")[1]


def test_a_damaged_run_is_listed_with_the_reason_beside_the_others(advantageflow: Command, tmp_path: Path) -> None:
    for name in ("good", "settings", "summary", "keys"):
        named = ["tracking.name=a name longer than its folder's"]
        create_workdir(tmp_path / "runs" / name, choose_settings(preset="tiny", assignments=named))
    (tmp_path / "runs" / "settings" / "settings.yaml").write_text("rounds: [")
    (tmp_path / "runs" / "summary" / "summary.json").write_text("{")
    (tmp_path / "runs" / "keys" / "summary.json").write_text("{}")
    status, out, _ = advantageflow("runs")
    assert (status, "a name longer than its folder's" in out) == (0, True)
    for name, words in {
        "good": "not complete",
        "summary": "corrupt",
        "keys": "not the summary",
        "settings": "",
    }.items():
        assert any(name in line and words in line for line in out.splitlines())


def test_a_preset_is_printed_as_yaml_in_full_or_as_written(advantageflow: Command) -> None:
    short = yaml.safe_load(advantageflow("presets", "show", "tiny")[1])
    full = yaml.safe_load(advantageflow("presets", "show", "tiny", "--all")[1])
    assert full["rollout"].items() >= short["rollout"].items()
    assert full["training"]["lora"]["rank"] > 0


def test_resources_can_be_listed_and_shown_to_start_a_file_of_one_s_own_with(
    advantageflow: Command, tmp_path: Path
) -> None:
    status, out, _ = advantageflow("resources", "list")
    assert status == 0
    assert all(name in out for name in ("cpu", "single-gpu", "multi-gpu", "multi-node"))
    _, out, _ = advantageflow("resources", "show", "multi-node")
    assert "base: multi-gpu" in out
    (tmp_path / "mine.yaml").write_text("base: cpu\ntraining: {cpu: 3}\n")
    status, out, _ = advantageflow("resources", "show", "mine.yaml", "--all")
    assert status == 0
    assert yaml.safe_load(out)["training"]["cpu"] == "3"


def test_compile_writes_the_pipeline_for_a_cluster(advantageflow: Command, tmp_path: Path) -> None:
    command = (
        "compile",
        "-o",
        "sub/p.yaml",
        "--preset",
        "tiny",
        "--rounds",
        "1",
        "--image",
        "registry.example/stage:2",
    )
    status, out, _ = advantageflow(*command)
    assert status == 0
    assert "pipeline online, 1 round of advantage_flow, 8 tasks" in out
    assert "warning" not in out
    assert "resources cpu" in out
    spec, platform = yaml.safe_load_all((tmp_path / "sub" / "p.yaml").read_text())
    assert "comp-round-01" in spec["components"]
    assert "exec-training" in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {e["container"]["image"] for e in spec["deploymentSpec"]["executors"].values()} == {
        "registry.example/stage:2"
    }


def test_compiling_without_images_warns_of_names_that_move(advantageflow: Command, tmp_path: Path) -> None:
    status, out, _ = advantageflow("compile", "--preset", "tiny", "--rounds", "1")
    assert status == 0
    assert "a name that every build moves" in out
    assert (tmp_path / "pipeline.yaml").exists()


def test_help_needs_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; sys.argv = ['advantageflow', '-h']\n"
        "from advantageflow_pipelines import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'mlflow', 'kfp', 'kfp_server_api', 'kubernetes', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
