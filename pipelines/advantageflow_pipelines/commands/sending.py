"""The options that choose what is sent to a cluster, once or on a schedule: settings, images, resources, cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from advantageflow.errors import StoreError, TrackingError
from advantageflow.prompts.files import WITHOUT_FILE
from advantageflow.settings import RunSettings
from advantageflow.store.s3 import is_s3
from advantageflow.tracking.registry import is_registered
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.expand import expanding
from advantageflow_pipelines.configuration.checks import check_prompts
from advantageflow_pipelines.configuration.named_files import check_no_local_files
from advantageflow_pipelines.local.policies import with_initial_policy
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.cluster import ClusterRun, cluster_run
from advantageflow_pipelines.say import Console, say, warn

if TYPE_CHECKING:
    from advantageflow_pipelines.client.package import Package

Experiment = Annotated[
    str | None,
    typer.Option(
        "--experiment", "-e", envvar="KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
        help="Experiment on the server, made if it is not there; tracking.experiment if not given.",
    ),
]  # fmt: skip
ServiceAccount = Annotated[
    str | None, typer.Option("--service-account", help="Of the pods, instead of the resources' own.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Take no task's results from an earlier run.")]


def compile_run(run: ClusterRun, console: Console) -> Package:
    """Compile a run, and say what it takes of Kubeflow and which paths are not looked for on this machine.

    Raises:
        SettingsError: it names files of this machine, or cannot finish on Kubeflow.
        DataError: there are fewer prompts than a round takes.
    """
    from advantageflow_pipelines.client.fit import check_fits, fitted, said
    from advantageflow_pipelines.client.footprint import footprint

    in_images = check_no_local_files(run.settings)
    if run.settings.prompts.source in WITHOUT_FILE:
        check_prompts(run.settings)
    run = fitted(run)
    package = run.package()
    taken = footprint(package)
    check_fits(run, taken)
    say(console, *(f"taken to be in the images: {path}" for path in in_images), f"on Kubeflow: {said(run, taken)}")
    return package


def choose(
    pipeline: options.Pipeline = None,
    preset: options.Preset = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    rounds: options.Rounds = None,
    seed: options.Seed = None,
    init_policy: options.InitPolicy = None,
) -> RunSettings:
    """The settings that these options choose for a cluster; they train the adapter that the initial policy has.

    Where that policy cannot be read from this machine, a warning says so: the training task holds the two together.
    """
    settings = options.choose(pipeline, preset, config, assignments, rounds, seed, init_policy)
    address = settings.init_policy or ""
    if not (is_s3(address) or is_registered(address)):
        return settings
    lora_asked = options.asks_for_lora(config, assignments, settings)
    try:
        adopted, words = with_initial_policy(settings, options.RUNS, lora_asked=lora_asked)
    except (StoreError, TrackingError) as error:
        warn(Console(), f"training.lora is not compared with the initial policy's: {error}")
        return settings
    say(Console(), words)
    return settings.model_copy(update={"training": adopted.training})


@expanding(settings=choose)
def choose_run(
    settings: RunSettings,
    images: options.Images = None,
    image: options.Image = None,
    resources: options.Resources = None,
) -> ClusterRun:
    """What these options choose."""
    return cluster_run(settings, options.require_images(images, image, settings), resources)


def describe(run: ClusterRun) -> str:
    """One line for the server's pages."""
    settings = run.settings
    what = f"{pipeline_of(settings).describe(settings)} on {settings.model.name}"
    rewards = ", ".join(term.name for term in settings.reward.terms)
    return (
        f"preset {settings.preset}: {what}, prompts {settings.prompts.source}, reward {rewards}, seed {settings.seed}; "
        f"resources {run.resources.preset}; in MLflow: experiment {settings.tracking.experiment}"
    )
