"""The options that choose what is sent to a cluster, once or on a schedule: settings, images, resources, cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from advantageflow_pipelines.commands import options
from advantageflow_pipelines.configuration.named_files import check_no_local_files
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.placing.cluster import ClusterRun, cluster_run

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


@dataclass(frozen=True)
class Sending:
    """A pipeline that is sent to a cluster.

    Attributes:
        run: settings, images and resources.
    """

    run: ClusterRun

    def compile(self, console: Console, *, cache: bool) -> Package:
        """Compile it, and say what a person should know before it is sent.

        Args:
            console: where that is said.
            cache: whether tasks may take their results from earlier runs.

        Raises:
            SettingsError: it names files of this machine, or cannot finish on Kubeflow.
        """
        package = compile_run(self.run, console)
        return package if cache else package.without_cache()

    def service_account(self, asked: str | None) -> str:
        """The service account of the pods: that of the resources, unless another was asked for."""
        return asked or self.run.resources.service_account

    def experiment(self, asked: str | None) -> str:
        """The experiment on the server: named as MLflow's, unless another was asked for."""
        return asked or self.run.settings.tracking.experiment

    def description(self) -> str:
        """One line for the server's pages."""
        settings, resources = self.run.settings, self.run.resources
        what = f"{pipeline_of(settings).describe(settings)}, seed {settings.seed}"
        return f"preset {settings.preset}, {what}, resources {resources.preset}"


def compile_run(run: ClusterRun, console: Console) -> Package:
    """Compile a run, and say what it takes of Kubeflow and which paths are not looked for on this machine.

    Raises:
        SettingsError: it names files of this machine, or cannot finish on Kubeflow.
    """
    from advantageflow_pipelines.client.fit import check_fits
    from advantageflow_pipelines.client.footprint import footprint

    in_images = check_no_local_files(run.settings)
    package = run.package()
    taken = footprint(package)
    warning = check_fits(run, taken)
    for path in in_images:
        console.print(f"taken to be in the images: {path}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"on Kubeflow: {taken}", highlight=False, markup=False, soft_wrap=True)
    if warning:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    return package


def choose_sending(
    pipeline: options.Pipeline = None,
    preset: options.Preset = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    rounds: options.Rounds = None,
    seed: options.Seed = None,
    init_policy: options.InitPolicy = None,
    images: options.Images = None,
    image: options.Image = None,
    resources: options.Resources = None,
) -> Sending:
    """What these options choose."""
    settings = options.choose(preset, config, assignments, rounds, seed, init_policy, pipeline)
    return Sending(cluster_run(settings, options.require_images(images, image, settings), resources))
