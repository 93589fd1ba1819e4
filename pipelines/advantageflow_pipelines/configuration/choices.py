"""What a person chose for a run (preset or file, --set, --rounds, --seed) as settings, and those as a file."""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from advantageflow.configure import load_settings
from advantageflow.settings import RunSettings
from advantageflow.store.files import write_text
from advantageflow_pipelines.pipelines import pipeline_of

DEFAULT_PRESET = "shapes"


class _Dumper(yaml.SafeDumper):
    """Quotes text such as '1e5', which is a number to whoever reads the file (though not in YAML 1.1)."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.?[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)$"), list("-+.0123456789")
)


def choose_settings(
    *,
    preset: str | None = None,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    rounds: int | None = None,
    seed: int | None = None,
    init_policy: str | None = None,
    pipeline: str | None = None,
) -> RunSettings:
    """The settings of a run.
    Raises SettingsError: says which settings are wrong, where they were given and what to do.

    Args:
        preset: name of a preset; the default one if neither it nor `config` is given.
        assignments: changes as 'section.key=value'; later ones win.
        init_policy: policy to continue from, a folder or an s3:// address, instead of the preset's; any name will do.
    """
    if preset is None and config is None:
        preset = DEFAULT_PRESET
    chosen = {"rounds": rounds, "seed": seed, "pipeline": pipeline}
    shortcuts = [f"{name}={value}" for name, value in chosen.items() if value is not None]
    settings = load_settings(preset, config, [*assignments, *shortcuts])
    settings = pipeline_of(settings).complete(settings)
    return settings if init_policy is None else settings.model_copy(update={"init_policy": init_policy})


def read_settings(path: Path) -> RunSettings:
    """The settings in a file of write_settings, or of a person."""
    return load_settings(None, path)


def write_settings(path: Path, settings: RunSettings) -> None:
    """Write all settings as YAML."""
    values = settings.model_dump(mode="json")
    write_text(path, yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True))
