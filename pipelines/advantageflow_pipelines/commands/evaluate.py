"""`advantageflow evaluate`: a trained policy against its base model, with and without guidance, as one page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer import Argument, Option

from advantageflow.settings import RunSettings
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.local import evaluate as work
from advantageflow_pipelines.local.evaluate import Variant
from advantageflow_pipelines.local.policies import find_policy
from advantageflow_pipelines.local.workdir import make_output, unused
from advantageflow_pipelines.say import Console, print_table, say


def evaluate(
    paths: Annotated[
        list[str],
        Argument(
            metavar="WORKDIR_OR_POLICY...",
            help="A run's working folder, or a policy: its folder, or where it is published; several are compared.",
        ),
    ],
    guidance: Annotated[
        str | None,
        Option("--guidance", "-g", help="Guidance scales, such as 1,4.5 (1 is none); as in the run if not given."),
    ] = None,
    images: Annotated[int | None, Option("--images", "-n", min=1, help="Images of each variant.")] = None,
    steps: Annotated[int | None, Option(min=1, max=1000, help="Model evaluations per image.")] = None,
    sampler: Annotated[Literal["euler", "heun", "ab2"] | None, Option(help="ODE solver.")] = None,
    seed: Annotated[int | None, Option(min=0, help="Seed of the noise; the run's if not given.")] = None,
    samples: Annotated[int | None, Option(min=1, help="Prompts whose pictures are shown.")] = None,
    device: Annotated[Literal["cpu", "cuda"] | None, Option(help="The run's if not given.")] = None,
    output: Annotated[
        Path | None, Option("--output", "-o", help="New folder; `evaluation` in the working folder if not given.")
    ] = None,
    runs: options.Runs = options.RUNS,
) -> None:
    """Judge trained policies on held-out prompts against their base model, and against each other.

    Base and tuned generate from the same prompts and noise at every guidance scale; so does the policy that a continued
    run started from. Writes report.html (tables by task
    with intervals, win rates, pictures; one file that needs nothing else), results.json, samples.png, and every image's
    verdict under variants/.
    """
    policies = [find_policy(path, runs) for path in paths]
    for policy in policies:
        policy.trained_state()
    policies = work.with_start(policies[0]) if len(policies) == 1 else policies
    settings = policies[0].settings
    settings = _changed(settings, "model", device=device)
    settings = _changed(settings, "evaluation", images=images, steps=steps, sampler=sampler, sample_prompts=samples)
    settings = settings if seed is None else settings.model_copy(update={"seed": seed})
    scales = [settings.evaluation.guidance_scale] if guidance is None else work.parse_scales(guidance)
    variants = work.make_variants(scales, policies)
    out = output or unused((Path(paths[0]) if (Path(paths[0]) / "settings.yaml").is_file() else runs) / "evaluation")
    make_output(out)
    console = Console()
    with _progress(console, variants, settings.evaluation.images) as advance:
        comparison = work.evaluate(policies[0], settings, variants, out, advance)
    _show(console, comparison)
    say(console, f"report:  {out / 'report.html'}")


def _changed(settings: RunSettings, section: str, **values: Any) -> RunSettings:
    """Settings with other values in a section, as far as they are given."""
    given = {name: value for name, value in values.items() if value is not None}
    return settings.model_copy(update={section: getattr(settings, section).model_copy(update=given)})


@contextmanager
def _progress(console: Console, variants: Sequence[Variant], images: int) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each variant on a terminal, elsewhere a line for each that is done; yields what is to be told."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {variant.name: bars.add_task(variant.name, total=images, start=False) for variant in variants}

        def told(name: str, done: int, total: int) -> None:
            if name not in tasks:
                return
            bars.start_task(tasks[name])
            bars.update(tasks[name], completed=done, total=total)
            if done == total and not console.is_terminal:
                say(console, f"{name}: {done} images")

        yield told


def _show(console: Console, comparison: Mapping[str, Any]) -> None:
    """The overall figures, win rates and alarms."""
    table = Table("", title=f"{comparison['images']} held-out images", title_justify="left")
    for one in comparison["measures"].values():
        table.add_column(one["label"] + (" (watched)" if one["watched"] else ""), justify="right")
    for name, variant in comparison["variants"].items():
        table.add_row(name, *(_interval(measure["overall"]) for measure in variant["measures"].values()))
    print_table(console, table)
    key = "soft" if "soft" in comparison["measures"] else "strict"
    label = comparison["measures"][key]["label"]
    wins = Table("pair", title=f"{label}, image against image from equal noise", title_justify="left")
    for name in ("won", "even", "lost", "win rate"):
        wins.add_column(name, justify="right")
    for pair in comparison["pairs"]:
        one = pair["measures"][key]
        (low, high), shares = one["rate"]["ci95"], [f"{one[name]:.1%}" for name in ("wins", "ties", "losses")]
        rate = f"{one['rate']['mean']:.1%} ({low:.1%} to {high:.1%})"
        wins.add_row(f"{pair['after']} against {pair['before']}", *shares, rate)
    print_table(console, wins)
    for name, variant in comparison["variants"].items():
        for alarm in variant["alarms"]:
            say(console, f"alarm, {name}: {alarm['message']}", style="bold red")


def _interval(one: Mapping[str, Any]) -> str:
    low, high = one["ci95"]
    return f"{one['mean']:.3f} ({low:.3f} to {high:.3f})"
