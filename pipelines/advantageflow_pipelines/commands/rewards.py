"""`advantageflow rewards`: what images can be scored by, and whether a reward does it as it should."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from advantageflow.errors import DataError, RewardError, SettingsError
from advantageflow.golden_checks.check import Trial, readable, score_pictures, try_reward, with_prompts
from advantageflow.golden_checks.pictures import Picture, folder_pictures, golden_pictures, record
from advantageflow.prompts.sources import load_prompts
from advantageflow.records import Prompt
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.checks import check_readable
from advantageflow.rewards.plumbing.registry import get_guarded, list_rewards
from advantageflow.settings import RewardSettings
from advantageflow.yaml_text import parse_yaml
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.prompts import print_counts
from advantageflow_pipelines.say import Console, print_table, say, warn

rewards = typer.Typer(no_args_is_help=True, help="What images can be scored by.")

_Name = Annotated[str, Option("--reward", "-r", help="A reward of the list, or package.module:name of yours.")]
_Options = Annotated[
    list[str] | None, Option("--option", metavar="KEY=VALUE", help="What it is made with, as in device=cuda.")
]
_Images = Annotated[
    Path | None,
    Option(
        "--images",
        help="Folder of pictures to score instead of the golden set; a prompts.jsonl in it says what each should show: "
        '{"image": "a.png", "text": ..., "spec": ...}.',
    ),
]
_LIMITS = RewardSettings()
_Share = Annotated[float, Option("--tolerance", min=0, help="As a share of each column's spread of scores.")]


@rewards.command("list")
def rewards_list() -> None:
    """List the rewards: built in, and those that installed plug-ins bring."""
    table = Table("reward", "version", "columns", "what it scores", "from")
    for info in list_rewards():
        columns = ", ".join(f"{name} ({low:g} .. {high:g})" for name, (low, high) in info.columns.items())
        summary = Text(info.summary) if info.summary else Text(info.error, style="red")
        version = info.version or ("needs options" if info.summary else "")
        table.add_row(info.name, version, columns, summary, info.origin)
    print_table(Console(), table)


@rewards.command("check")
def rewards_check(
    prompts: Annotated[str | None, Argument(help="A file of prompts, or another prompts.source.")] = None,
    reward: _Name = "shapes",
    option: _Options = None,
    images: _Images = None,
    tolerance: _Share = 0.01,
    column: options.Columns = None,
    timeout: Annotated[float, Option(min=0.001, help="Seconds that it may take, as reward.timeout.")] = (
        _LIMITS.timeout
    ),
) -> None:
    """Try a reward before a run is started with it.

    Checks that it can read every prompt of a file, if one is given, and that it scores pictures (the golden set, or
    those of a folder) in the range it declares, twice alike, and alone as in a batch; says how fast it is.
    """
    console = Console()
    made = get_guarded(reward, parse_options(option or []), timeout=timeout, memory_gb=_LIMITS.memory_gb)
    own: list[Prompt] = []
    if prompts is not None:
        own = load_prompts(prompts, made, columns=options.columns(column), warn=partial(warn, console))
        say(console, f"reward {reward} can read all of {prompts}")
        print_counts(console, own)
    any_prompt = getattr(made, "reads_any", False) and bool(own) and images is None
    pictures = [] if any_prompt else _readable_pictures(made, images)
    fitting = bool(pictures)
    if not fitting:  # what they show is not what is asked for, but the reward can be tried on them
        pictures = with_prompts(golden_pictures(), own)
        if not pictures:
            raise _nothing_readable(reward)
    trial = try_reward(made, pictures)
    _show(console, reward, made, trial, len(pictures))
    problems = trial.problems(tolerance)
    if fitting and len(pictures) > 1 and all(column.spread == 0 for column in trial.columns.values()):
        problems.append(f"all {len(pictures)} pictures got the same scores")
    if problems:
        remedy = "mend the reward; --tolerance allows differences that do not matter"
        raise RewardError("; ".join(problems), where=f"reward '{reward}' {made.version}", remedy=remedy)


@rewards.command("record")
def rewards_record(
    output: Annotated[Path, Option("--output", "-o", help="JSON file to write or add to.")],
    reward: _Name,
    option: _Options = None,
    images: _Images = None,
    tolerance: _Share = 0.02,
) -> None:
    """Record a reward's scores of pictures, for runs to be held to: --set reward.golden=FILE.

    With --images the file holds the pictures too. Each run then scores them first, and stops if a score has changed by
    more than the tolerance.
    """
    given = parse_options(option or [])
    made = get_guarded(reward, given, timeout=_LIMITS.timeout, memory_gb=_LIMITS.memory_gb)
    pictures = _readable_pictures(made, images)
    if not pictures:
        raise _nothing_readable(reward)
    results = score_pictures(made, pictures)
    record(output, made, reward, given, pictures, results, tolerance=tolerance, with_pictures=images is not None)
    say(Console(), f"{output}: scores of {len(pictures)} pictures by {reward}")


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options by name from texts such as 'batch=8'; the value is read as YAML.
    Raises SettingsError: a text is of another form.
    """
    options = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals:
            remedy = "write it as name=value, for example --option device=cuda"
            raise SettingsError("is not of the form name=value", where=f"--option {text}", remedy=remedy)
        options[name], _ = parse_yaml(value, f"--option {text}")
    return options


def _readable_pictures(reward: Reward, folder: Path | None) -> list[Picture]:
    """All pictures of the folder, or those of the golden set whose prompts the reward can read.
    Raises DataError: the reward cannot read a prompt of the folder.
    """
    if folder is None:
        return readable(reward, golden_pictures())
    pictures = folder_pictures(folder)
    for picture in pictures:
        try:
            check_readable(reward, picture.prompt)
        except DataError as error:
            where = ", ".join(filter(None, [f"{folder}, picture '{picture.name}'", error.where]))
            raise DataError(error.message, where=where, remedy=error.remedy) from error
    return pictures


def _nothing_readable(reward: str) -> SettingsError:
    remedy = "give --images with a folder of pictures whose prompts.jsonl says what they should show"
    return SettingsError(f"reward '{reward}' can read the prompt of no picture", where="--reward", remedy=remedy)


def _show(console: Console, name: str, reward: Reward, trial: Trial, pictures: int) -> None:
    direction = "higher is better" if reward.higher_is_better else "lower is better"
    say(console, f"reward {name} {reward.version} on {pictures} pictures: {direction}")
    table = Table("column", "declared", "lowest", "highest", "scored twice", "batch or alone")
    for column, seen in trial.columns.items():
        low, high = reward.columns[column]
        same = ["equal" if value == 0 else f"differs by {value:.2g}" for value in (seen.repeated, seen.alone)]
        highest = f"{seen.highest:.4g}" + (" (constant)" if seen.spread == 0 else "")
        table.add_row(column, f"{low:g} .. {high:g}", f"{seen.lowest:.4g}", highest, *same)
    print_table(console, table)
    batch, alone = (pictures / max(s, 1e-9) for s in (trial.batch_seconds, trial.alone_seconds))
    speed = f"{batch:,.3g} pictures/s in one batch, {alone:,.3g} one by one"
    say(console, f"speed: {speed}; first batch, loading included: {trial.first_seconds:.2f} s")
