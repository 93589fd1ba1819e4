"""`advantageflow run` and `sync`: a pipeline on this machine, and what MLflow lacks of it."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.options import expanding, later
from advantageflow_pipelines.configuration.checks import begin_run
from advantageflow_pipelines.local.interrupts import INTERRUPTED, INTERRUPTS
from advantageflow_pipelines.local.runners import RunnerKind, check_images, read_runner
from advantageflow_pipelines.local.summary import is_complete, show_summary
from advantageflow_pipelines.local.tracking import is_delivered, sync_run, tracking_uri
from advantageflow_pipelines.local.workdir import WorkDir, complete_tasks, open_workdir
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import NothingToDo
from advantageflow_pipelines.say import Console, say, warn

_HOUR = 3600.0


@expanding(choose=later(options.choose))
def run(
    choose: partial[RunSettings],
    workdir: Annotated[
        Path | None, Option("--workdir", "-w", help="New folder for what the run makes; in --runs if not given.")
    ] = None,
    resume: Annotated[
        Path | None, Option(help="Continue the run in this working folder from what is complete.")
    ] = None,
    runs: options.Runs = options.RUNS,
    name: options.Name = None,
    note: options.Note = None,
    runner: Annotated[
        RunnerKind | None,
        Option(
            help="inline: all stages in this process; subprocess: each in a process of its own, by "
            "Kubeflow's local runner; docker: by it too, in a container of its image, built by docker/build.sh. If not "
            "given: inline, or subprocess for a pipeline that has no inline form."
        ),
    ] = None,
    image: options.Image = None,
    images: options.Images = None,
) -> None:
    """Fine-tune a model on this machine.

    Runs all stages of the pipeline: prompts are prepared, the base model is evaluated,
    then each round generates images, scores them and trains on them. Shows the accuracy on held-out prompts after each
    round, and at the end a table of what was gained and where pictures and curves are.
    """
    console = Console()
    if resume is not None:
        chosen = [*choose.keywords.values(), workdir, name, note, runner, image, images]
        if any(choice is not None and choice != [] for choice in chosen):
            remedy = "leave the other options away, or start a new run"
            raise SettingsError("a run is continued with the settings it has", where="--resume", remedy=remedy)
        place = open_workdir(resume)
        summary = is_complete(place, partial(warn, console))
        if summary is not None:
            say(console, f"{place.root} is complete")
            if not is_delivered(place):
                sync_run(place, tracking_uri(place, runs), partial(warn, console))
            show_summary(console, place, summary)
            return
        if known := read_runner(place).images:
            check_images(known, place.settings)
    else:
        settings = options.named(choose(), name, note)
        if runner is not RunnerKind.DOCKER and (image is not None or images is not None):
            remedy = "add --runner docker, or leave them away"
            raise SettingsError("processes of this machine use no images", where="--image, --images", remedy=remedy)
        try:
            place = begin_run(
                settings, runner, runs, workdir, lora_asked=options.asks_for_lora(choose.keywords, settings),
                images=options.choose_images(images, image, settings), tell=partial(say, console),
            )  # fmt: skip
        except NothingToDo as reason:
            say(console, f"nothing to do: {reason}")
            return
    _run(console, place, runs)


def _run(console: Console, place: WorkDir, runs: Path) -> None:
    from advantageflow_pipelines.local.run import run_locally, seconds_to_end

    complete_before, settings = complete_tasks(place), place.settings
    what = f"preset {settings.preset}: {pipeline_of(settings).describe(settings)}, seed {settings.seed}"
    say(console, what, f"log: {place.log_file}")
    if complete_before:
        say(console, f"continuing after {complete_before} complete tasks")
    stopped = f"stopped; continue with: advantageflow run --resume {place.root}"
    with INTERRUPTS.end_within(seconds_to_end(settings), stopped):
        try:
            summary = run_locally(place, console=console, tracking_uri=tracking_uri(place, runs))
        except KeyboardInterrupt:
            say(console, f"\n{stopped}")
            os._exit(INTERRUPTED)  # without waiting for threads, such as one that MLflow does not answer
    show_summary(console, place, summary)
    say(console, f"curves:   advantageflow ui{'' if runs == options.RUNS else f' --runs {runs}'}")


def sync(
    run: Annotated[Path, Argument(metavar="RUN", help="The run's working folder.")], runs: options.Runs = options.RUNS
) -> None:
    """Bring to MLflow what it lacks of a run that has ended, as when it was away; nothing is written twice.

    A run that was killed outright and will not be continued is ended there too.
    """
    console = Console()
    place = open_workdir(run)
    uri = tracking_uri(place, runs)
    if not sync_run(place, uri, partial(warn, console), _HOUR):
        sys.exit(1)
    say(console, f"MLflow has all of {place.root.name}: {uri}")
