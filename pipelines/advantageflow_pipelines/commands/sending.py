"""The options that choose what is sent to a cluster, once or on a schedule: settings, images, cache, experiment."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from advantageflow.settings import RunSettings
from advantageflow_pipelines.choices import choose_settings
from advantageflow_pipelines.client.local_files import check_no_local_files
from advantageflow_pipelines.commands import options
from advantageflow_pipelines.images import StageImages

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
    str | None, typer.Option("--service-account", help="Of the pods; Kubeflow's pipeline-runner if not given.")
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Take no task's results from an earlier run.")]


@dataclass(frozen=True)
class Sending:
    """A pipeline that is sent to a cluster."""

    settings: RunSettings
    images: StageImages

    def compile(self, console: Console, *, cache: bool) -> Package:
        """Compile it, and say what a person should know before it is sent.

        Raises:
            SettingsError: it names files of this machine, or is too large.
        """
        from advantageflow_pipelines.client.package import check_size, read_package
        from advantageflow_pipelines.online import compile_pipeline

        for path in check_no_local_files(self.settings):
            console.print(f"taken to be in the images: {path}", highlight=False, markup=False, soft_wrap=True)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pipeline.yaml"
            compile_pipeline(self.settings, file, self.images)
            package = read_package(file)
        warning = check_size(package, self.settings)
        if warning:
            console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
        return package if cache else package.without_cache()

    def description(self) -> str:
        """One line for the server's pages."""
        settings = self.settings
        return (
            f"preset {settings.preset}, {settings.rounds} rounds, seed {settings.seed}, {settings.training.algorithm}"
        )


def choose_sending(
    preset: options.Preset = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    rounds: options.Rounds = None,
    seed: options.Seed = None,
    init_policy: options.InitPolicy = None,
) -> Sending:
    """What these options choose."""
    settings = choose_settings(
        preset=preset, config=config, assignments=assignments or [], rounds=rounds, seed=seed, init_policy=init_policy
    )
    return Sending(settings, StageImages())
