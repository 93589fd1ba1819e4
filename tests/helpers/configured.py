"""Settings from a text, and the errors of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.settings import RunSettings


def from_text(tmp_path: Path, text: str) -> RunSettings:
    (tmp_path / "run.yaml").write_text(text)
    return load_settings(None, tmp_path / "run.yaml")


def error_of(tmp_path: Path, text: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        from_text(tmp_path, text)
    return caught.value


def override_error(*overrides: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, None, overrides)
    return caught.value
