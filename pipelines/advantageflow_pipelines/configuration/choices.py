"""What a person chose for a run as settings, those as a file, and the files and folders that they name."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.prompts.sources import EMBEDDED, is_local_file
from advantageflow.settings import RewardSettings, RunSettings
from advantageflow.store.files import write_text
from advantageflow.store.s3 import is_s3
from advantageflow.tracking.registry import is_registered
from advantageflow_pipelines.pipelines import pipeline_of

STORE = "store.url"

_PATH_STARTS = ("/", "./", "../", "~/")
_Keys = tuple[str, ...]
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


def named_files(settings: RunSettings) -> dict[str, Path]:
    """What settings name of the file system of whoever reads them, no address and no hub id: path by setting, such as
    'prompts.source' or 'reward.options.weights'.
    """
    return {".".join(keys): _path(name) for keys, name in _named(settings)}


def with_absolute_paths(settings: RunSettings) -> RunSettings:
    """The same settings with the files they name made absolute, so that a run can be continued from anywhere."""
    values = settings.model_dump(exclude_unset=True)
    for (*above, key), name in _named(settings):
        section: Any = values
        for part in above:
            section = section[int(part) if isinstance(section, list | tuple) else part]
        section[int(key) if isinstance(section, list) else key] = str(_path(name).absolute())
    return RunSettings.model_validate(values)


def check_no_local_files(settings: RunSettings) -> list[str]:
    """Check that a cluster can read all that a run reads.
    Raises SettingsError: a setting names a file of this machine, or a relative path; names it.

    An absolute path that is not on this machine is taken to be in the stages' images.

    Args:
        settings: as a person gave them: of a relative path that was made absolute, nobody knows that it was one.

    Returns:
        Those paths, each with its setting.
    """
    in_images = []
    for setting, path in named_files(settings).items():
        if os.path.exists(path) or not path.is_absolute():
            message = f"{path} is a path of this machine, which a cluster does not see"
            raise SettingsError(message, where=setting, remedy=_remedy(setting))
        in_images.append(f"{setting}: {path}")
    return in_images


def _named(settings: RunSettings) -> Iterator[tuple[_Keys, str]]:
    """Names of files as they were given, by the keys that lead to them."""
    if is_local_file(settings.prompts.source):
        yield ("prompts", "source"), settings.prompts.source
    model = settings.model.name
    if model.startswith(_PATH_STARTS) or (Path(model).is_dir() and model != EMBEDDED):
        yield ("model", "name"), model
    yield from _named_by_rewards(settings.reward)
    policy = settings.init_policy
    if policy is not None and not is_s3(policy) and not is_registered(policy):
        yield ("init_policy",), policy
    if settings.store.url is not None and "://" not in settings.store.url:
        yield tuple(STORE.split(".")), settings.store.url


def _named_by_rewards(reward: RewardSettings) -> Iterator[tuple[_Keys, str]]:
    if reward.golden is not None:
        yield ("reward", "golden"), reward.golden
    terms: dict[_Keys, Any] = {("reward",): reward.options}
    for group, others in (("others", reward.others), ("watched", reward.watched)):
        terms |= {("reward", group, str(number)): term.options for number, term in enumerate(others)}
    for keys, options in terms.items():
        for inner, text in _texts(options):
            if text.startswith(_PATH_STARTS) or (("/" in text or "." in text) and os.path.exists(text)):
                yield (*keys, "options", *inner), text


def _texts(value: Any) -> Iterator[tuple[_Keys, str]]:
    """All texts in the options of a reward, at any depth."""
    if isinstance(value, str):
        yield (), value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        for keys, text in _texts(inner):
            yield (str(key), *keys), text


def _path(name: str) -> Path:
    return Path(name).expanduser() if name.startswith("~/") else Path(name)


def _remedy(setting: str) -> str:
    if setting == "init_policy":
        return "publish it (advantageflow publish FOLDER s3://bucket/prefix) or register it, and give that address"
    if setting == STORE:
        return "set it to s3://bucket/prefix"
    if setting.startswith("reward."):
        return "put it into the images of the stages that make rewards, and give its absolute path there"
    return "upload it and give its address (s3://bucket/key), or put it into the images and give its path there"
