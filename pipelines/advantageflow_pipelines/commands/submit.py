"""`advantageflow compile` and `submit`: a run on a Kubeflow cluster, from the options that choose it."""

import functools
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from advantageflow.errors import SettingsError, StoreError, TrackingError
from advantageflow.prompts.files import WITHOUT_FILE
from advantageflow.rewards.plumbing.terms import built_in_rewards
from advantageflow.settings import RunSettings
from advantageflow.store.files import write_text
from advantageflow.store.s3 import is_s3
from advantageflow.tracking.registry import is_registered
from advantageflow_pipelines.client.api import Api
from advantageflow_pipelines.client.connection import Connection, make_connection
from advantageflow_pipelines.client.footprint import footprint
from advantageflow_pipelines.client.package import Package
from advantageflow_pipelines.client.runs import start_run
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.commands.cluster import check_before
from advantageflow_pipelines.commands.options import expanding
from advantageflow_pipelines.commands.run_actions import watch
from advantageflow_pipelines.configuration.checks import check_prompts
from advantageflow_pipelines.configuration.choices import check_no_local_files
from advantageflow_pipelines.local.policies import with_initial_policy
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.cluster import ClusterRun, check_fits, cluster_run, fitted, said
from advantageflow_pipelines.say import Console, say, warn


@functools.wraps(options.choose, assigned=())
def choose(**given: Any) -> RunSettings:
    """The settings that these options choose for a cluster; they train the adapter that the initial policy has.

    Where that policy cannot be read from this machine, a warning says so: the training task holds the two together.
    """
    settings = options.choose(**given)
    address = settings.init_policy or ""
    if not (is_s3(address) or is_registered(address)):
        return settings
    lora_asked = options.asks_for_lora(given, settings)
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
    """What these options choose to be sent to a cluster.

    The default images will not do there: they are named by the package's version, which every build from changed code
    gives to other images, and Kubeflow's cache, which knows an image by its name, would take old results for new.
    """
    if images is None and image is None:
        remedy = "docker/build.sh --registry REGISTRY --push --images images.json writes the file; give it as --images"
        message = "a cluster needs images that it can fetch, by names that never move"
        raise SettingsError(message, where="--images", remedy=remedy)
    return cluster_run(settings, options.choose_images(images, image, settings), resources)


@expanding(settings=choose)
def compile_command(
    settings: RunSettings,
    output: Annotated[Path, Option("--output", "-o", help="File to write.")] = Path("pipeline.yaml"),
    image: options.Image = None,
    images: options.Images = None,
    resources: options.Resources = None,
) -> None:
    """Write the pipeline as a file that a Kubeflow cluster takes.

    The file is Kubeflow's YAML: upload it in the pipelines page or with `kfp run create`. Its run form shows what
    changes from run to run one by one, and the other settings as JSON, a section each; rounds, shards, images,
    resources and which rounds are evaluated are fixed in the file.
    """
    console = Console()
    if output.suffix not in (".yaml", ".yml"):
        raise SettingsError(
            "Kubeflow takes YAML files only", where=str(output), remedy="give a name that ends in .yaml"
        )
    run = cluster_run(settings, options.choose_images(images, image, settings), resources)
    package = compile_run(run, console)
    write_text(output, package.as_yaml())
    if images is None and image is None:
        image_of_all = next(iter(run.images.values()))
        warn(
            console,
            f"the images are those of this version ({image_of_all}), a name that every build moves: before the "
            "file is sent to a cluster, compile it with --images, the file that docker/build.sh writes",
        )
    found = pipeline_of(settings)
    tasks = sum(found.tasks(settings).values())
    what = f"pipeline {found.name}, {found.describe(settings)}, {tasks} tasks, resources {run.resources.preset}"
    say(console, f"{output}: {what}")


@expanding(run=choose_run, connection=make_connection)
def submit(
    run: ClusterRun,
    connection: Connection,
    name: Annotated[
        str | None, Option("--name", "--run-name", help="Name of the run, in MLflow too; made from preset and time.")
    ] = None,
    note: options.Note = None,
    experiment: options.Experiment = None,
    service_account: options.ServiceAccount = None,
    no_cache: Annotated[bool, Option("--no-cache", help="Take no task's results from an earlier run.")] = False,
    check: Annotated[
        bool, Option("--check/--no-check", help="Look first whether the cluster has what the run needs.")
    ] = True,
    wait: Annotated[bool, Option("--wait", help="Follow the run; its status is the exit status.")] = False,
) -> None:
    """Start a run on a Kubeflow cluster.

    Exit status: 0 the run was started (with --wait: succeeded), 1 it failed or was cancelled, 2 a mistake or a server
    that refuses, 130 Ctrl-C while following, which does not stop the run.
    """
    console = Console()
    run = replace(run, settings=options.named(run.settings, name, note))
    package = compile_run(run, console)
    api = Api(connection)
    account = service_account or run.resources.service_account
    if check:
        check_before(run, api.namespace, account, console)
    run_id = start_run(
        api,
        package.without_cache() if no_cache else package,
        name=name or f"{run.settings.preset}-{datetime.now().astimezone():%Y%m%d-%H%M%S}",
        experiment=experiment or run.settings.tracking.experiment,
        description=describe(run),
        service_account=account,
    )
    say(console, f"run {run_id} started", connection.run_page(run_id))
    if wait:
        sys.exit(watch(api, run_id, console))


def compile_run(run: ClusterRun, console: Console) -> Package:
    """Compile a run, and say what it takes of Kubeflow and which paths are not looked for on this machine.

    Raises:
        SettingsError: it names files of this machine, or cannot finish on Kubeflow.
        DataError: there are fewer prompts than a round takes.
    """
    in_images = check_no_local_files(run.settings)
    rewards = built_in_rewards(run.settings.reward)
    if run.settings.prompts.source in WITHOUT_FILE:
        check_prompts(run.settings, *rewards.values())
    run = fitted(run)
    package = run.package()
    taken = footprint(package)
    check_fits(run, taken)
    say(console, *(f"taken to be in the images: {path}" for path in in_images), f"on Kubeflow: {said(run, taken)}")
    return package


def describe(run: ClusterRun) -> str:
    """One line for the server's pages."""
    settings = run.settings
    what = f"{pipeline_of(settings).describe(settings)} on {settings.model.name}"
    rewards = ", ".join(term.name for term in settings.reward.terms)
    return (
        f"preset {settings.preset}: {what}, prompts {settings.prompts.source}, reward {rewards}, seed {settings.seed}; "
        f"resources {run.resources.preset}; in MLflow: experiment {settings.tracking.experiment}"
    )
