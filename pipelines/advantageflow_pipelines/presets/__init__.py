"""Presets: named settings, each a YAML file of this folder whose first line says what it is for."""

from importlib import resources

from advantageflow.configure import load_settings, preset_names


def list_presets() -> dict[str, str]:
    """What each preset is for, by name."""
    return {name: _text(name).partition("\n")[0].lstrip("# ") for name in preset_names()}


def preset_text(name: str) -> str:
    """The YAML of a preset.
    Raises SettingsError: no such preset; says which name is nearest.
    """
    load_settings(name, None)
    return _text(name)


def _text(name: str) -> str:
    return (resources.files(__name__) / f"{name}.yaml").read_text("utf-8")
