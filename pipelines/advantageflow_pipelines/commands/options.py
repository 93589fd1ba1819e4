"""Options that several commands share, so that they read and mean the same everywhere."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError
from typer import Option

from advantageflow.errors import SettingsError
from advantageflow.problems import problems_of, to_error
from advantageflow.settings import RunSettings, TrackingSettings
from advantageflow_pipelines.configuration.choices import DEFAULT_PRESET, choose_settings
from advantageflow_pipelines.local.workdir import DEFAULT_RUNS
from advantageflow_pipelines.pipelines import BUILT_IN, pipeline_of
from advantageflow_pipelines.placing.images import check_reference, default_images, read_images

Preset = Annotated[
    str | None,
    Option("--preset", "-p", help=f"Named settings, see `advantageflow presets list`; {DEFAULT_PRESET} if not given."),
]
Config = Annotated[Path | None, Option("--config", "-c", help="Your own settings: a YAML file, like a preset's.")]
Pipeline = Annotated[
    str | None,
    Option("--pipeline", help=f"{', '.join(BUILT_IN)}, or yours: package.module:NAME; the settings' own if not given."),
]
Assignments = Annotated[
    list[str] | None,
    Option("--set", "-s", metavar="KEY=VALUE", help="Change one setting, as in --set rollout.group_size=8."),
]
Rounds = Annotated[int | None, Option("--rounds", help="Rounds of rollout, reward and training.")]
Seed = Annotated[int | None, Option("--seed", help="Equal seeds give bit-identical runs.")]
InitPolicy = Annotated[
    str | None,
    Option(
        "--init-policy",
        help="Continue from this policy, not the base model: a run's working folder, a policy, an adapter (PEFT, "
        "diffusers, kohya), s3://bucket/key, or models:/NAME@alias.",
    ),
]
Resources = Annotated[
    str | None,
    Option(
        "--resources",
        "-r",
        help="GPUs, memory, nodes and retries of each stage: a name from `advantageflow resources list`, or your own "
        "YAML file; one that suits model.device if not given.",
    ),
]
Name = Annotated[
    str | None, Option("--name", help="Name of the run, in MLflow too; made of model, reward and objective.")
]
Note = Annotated[str | None, Option("--note", help="First words of the run's description in MLflow; Markdown.")]
Columns = Annotated[
    list[str] | None, Option("--column", metavar="OURS=THEIRS", help="What the file calls text, split, task or spec.")
]
Runs = Annotated[Path, Option("--runs", help="Folder of the runs and of their MLflow store.")]
RUNS = DEFAULT_RUNS
Images = Annotated[
    Path | None,
    Option("--images", help="JSON file that names the container image of each stage, as docker/build.sh writes."),
]
Image = Annotated[str | None, Option("--image", help="One container image for all stages.")]
Experiment = Annotated[
    str | None,
    Option(
        "--experiment",
        "-e",
        envvar="KF_PIPELINES_DEFAULT_EXPERIMENT_NAME",
        help="Experiment on the server, made if it is not there; tracking.experiment if not given.",
    ),
]
ServiceAccount = Annotated[str | None, Option("--service-account", help="Of the pods, instead of the resources' own.")]


def choose(
    pipeline: Pipeline = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    rounds: Rounds = None,
    seed: Seed = None,
    init_policy: InitPolicy = None,
) -> RunSettings:
    """The settings that these options choose, paths as they were given: a relative one means nothing on a cluster."""
    return choose_settings(
        preset=preset, config=config, assignments=assignments or [], rounds=rounds, seed=seed,
        init_policy=init_policy, pipeline=pipeline,
    )  # fmt: skip


def named(settings: RunSettings, name: str | None, note: str | None) -> RunSettings:
    """The settings with what a person calls the run, where that is given; raises SettingsError as for any settings."""
    given = {key: value for key, value in (("name", name), ("note", note)) if value is not None}
    try:
        tracking = TrackingSettings.model_validate(settings.tracking.model_dump() | given)
    except ValidationError as error:
        raise to_error(problems_of(error, TrackingSettings, {key: f"--{key}" for key in given})) from error
    return settings.model_copy(update={"tracking": tracking})


def columns(given: list[str] | None) -> dict[str, str]:
    """What a file of prompts calls text, split, task and spec, from the options --column."""
    assignments = [f"prompts.columns.{one}" for one in given or []]
    return choose_settings(assignments=assignments).prompts.columns.renamed


def asks_for_lora(chosen: Mapping[str, Any], settings: RunSettings) -> bool:
    """Whether a person asked for the adapter's shape, in a file or with --set; a preset's is only a proposal.

    `chosen`: the options of `choose`, which gave the settings.
    """
    in_file = chosen["config"] is not None and bool(settings.training.lora.model_fields_set)
    return in_file or any(text.strip().startswith("training.lora") for text in chosen["assignments"] or [])


def choose_images(images: Path | None, image: str | None, settings: RunSettings) -> dict[str, str]:
    """The container image of each stage that these options choose: of the file, one for all, or the defaults.
    Raises SettingsError: both are given, the file cannot be used, or an image is not pinned.
    """
    if images is not None and image is not None:
        raise SettingsError("both name the container images", where="--images, --image", remedy="give one of them")
    if images is not None:
        return read_images(images, pipeline_of(settings))
    if image is not None:
        return dict.fromkeys(pipeline_of(settings).stage_names, check_reference(image, where="--image"))
    return default_images(pipeline_of(settings))


Command = Callable[..., Any]


def expanding(**makers: Callable[..., Any]) -> Callable[[Command], Command]:
    """Replace parameters of a command by the options that they are made from.

    Args:
        makers: by parameter, the function that makes its value; its parameters are the options, as typer reads them.

    Returns:
        A decorator; in the command's help the options stand where the parameter is.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        options = {name: inspect.signature(maker, eval_str=True).parameters for name, maker in makers.items()}

        @functools.wraps(command)
        def with_options(**values: Any) -> Any:
            made = {name: makers[name](**{option: values.pop(option) for option in options[name]}) for name in makers}
            return command(**values, **made)

        in_place = [options.get(name, {name: own}) for name, own in signature.parameters.items()]
        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for group in in_place for one in group.values()]
        with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_options

    return decorate


def later(maker: Callable[..., Any]) -> Callable[..., Any]:
    """A maker of the same options that gives a function to call where the value is needed; its `keywords` are those."""

    @functools.wraps(maker)
    def thunk(**values: Any) -> functools.partial[Any]:
        return functools.partial(maker, **values)

    return thunk
