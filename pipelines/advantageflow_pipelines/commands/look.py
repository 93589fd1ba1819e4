"""`advantageflow runs`, `ui`, `presets` and `rewards`: what there is to see and to choose from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from advantageflow.errors import UserError
from advantageflow.store.files import reading
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.presets import list_presets, preset_text

presets = typer.Typer(no_args_is_help=True, help="Named settings to start from.")
rewards = typer.Typer(no_args_is_help=True, help="What images can be scored by.")


def runs_command(runs: options.Runs = options.RUNS) -> None:
    """List the runs and what they came to."""
    console = Console()
    folders = _run_folders(runs)
    if not folders:
        console.print(f"no runs under {runs}; start one with: advantageflow run", highlight=False)
        return
    table = Table("run", "preset", "seed", "measure", "base", "final", "change", "seconds")
    for folder in folders:
        try:
            _add_run(table, folder)
        except (UserError, OSError) as error:
            reason = error.message if isinstance(error, UserError) else error.strerror or str(error)
            table.add_row(folder.name, "", "", "", "", "", "", escape(reason), style="red")
        except (LookupError, TypeError, ValueError):  # JSON, but not what write_summary wrote
            table.add_row(folder.name, "", "", "", "", "", "", "summary.json is damaged", style="red")
    console.print(table)


def ui(
    runs: options.Runs = options.RUNS,
    host: Annotated[str, typer.Option("--host", help="Address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to serve on.")] = 5000,
) -> None:
    """Open MLflow's pages on the runs: curves, settings, sample pictures by round. Stop with Ctrl-C."""
    from advantageflow.tracking.ui import ui_command
    from advantageflow_pipelines.tracking import STORE_FILE

    command = ui_command(runs / STORE_FILE, host, port)
    Console().print(f"MLflow: http://{host}:{port}  (stop with Ctrl-C)")
    os.execv(command[0], command)


@presets.command("list")
def presets_list() -> None:
    """List the presets and what each is for."""
    table = Table("preset", "what it is for")
    for name, purpose in list_presets().items():
        table.add_row(name, purpose)
    Console().print(table)


@presets.command("show")
def presets_show(
    name: Annotated[str, typer.Argument(help="Name of the preset.")],
    everything: Annotated[bool, typer.Option("--all", help="With what it leaves at the defaults.")] = False,
) -> None:
    """Print a preset, to be saved and changed as your own --config file."""
    if not everything:
        print(preset_text(name), end="")
        return
    import yaml

    from advantageflow_pipelines.choices import choose_settings

    settings = choose_settings(preset=name).model_dump(mode="json")
    print(yaml.safe_dump(settings, sort_keys=False), end="")


@rewards.command("list")
def rewards_list() -> None:
    """List the rewards: built in, and those that installed plug-ins bring."""
    from advantageflow.rewards.registry import list_rewards

    table = Table("reward", "version", "columns", "what it scores", "from")
    for info in list_rewards():
        columns = ", ".join(f"{name} ({low:g} .. {high:g})" for name, (low, high) in info.columns.items())
        table.add_row(info.name, info.version, columns, info.summary or f"[red]{info.error}[/red]", info.origin)
    Console().print(table)


@rewards.command("check")
def rewards_check(
    prompts: Annotated[str, typer.Argument(help="A file of prompts, or another prompts.source.")],
    reward: Annotated[str, typer.Option("--reward", "-r", help="The reward that is to score their images.")] = "shapes",
) -> None:
    """Check that a reward can read every prompt of a file, before a run is started on it."""
    from collections import Counter

    from advantageflow.prompts.sources import load_prompts
    from advantageflow.rewards.registry import get_reward

    counts = Counter((prompt.split, prompt.task) for prompt in load_prompts(prompts, get_reward(reward)))
    table = Table("split", "task", "prompts", title=f"reward {reward} can read all of {prompts}", title_justify="left")
    for (split, task), count in sorted(counts.items(), reverse=True):
        table.add_row(split, task, str(count))
    Console().print(table)


def _run_folders(runs: Path) -> list[Path]:
    """Folders that hold a run, or that this user may not look into."""
    with reading(runs):
        folders = [path for path in sorted(runs.glob("*")) if path.is_dir()]
    return [path for path in folders if not os.access(path, os.X_OK) or (path / "settings.yaml").exists()]


def _add_run(table: Table, folder: Path) -> None:
    from advantageflow.evaluation.labels import strict_label
    from advantageflow_pipelines.summary import read_summary
    from advantageflow_pipelines.workdir import open_workdir

    workdir, settings = open_workdir(folder)
    summary = read_summary(workdir)
    start = (folder.name, settings.preset, str(settings.seed))
    if summary is None:
        table.add_row(*start, "", "", "", "", "not complete", style="dim")
        return
    base, final = summary["base"]["strict"], summary["final"]["strict"]
    measure = strict_label(summary["final"])
    table.add_row(*start, measure, f"{base:.3f}", f"{final:.3f}", f"{final - base:+.3f}", f"{summary['seconds']:.0f}")
