"""The base of all settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from advantageflow.shown import masked

_PLACEHOLDER = "{{$"


class Settings(BaseModel):
    """Base of all settings: immutable, strict about types, finite, unknown keys rejected; texts are such that files and
    compiled pipelines can hold them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _can_be_written(cls, value: Any) -> Any:
        for text in _texts(value):
            if masked(text) != text:
                raise ValueError(
                    f"{masked(text)} holds a password, which would be written into files: keep it in an environment "
                    "variable (reward vlm: option api_key_env)"
                )
            if _PLACEHOLDER in text:
                raise ValueError(f"Kubeflow would read '{_PLACEHOLDER}' as a placeholder")
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError("a text holds half of a surrogate pair")
            if "\0" in text:
                raise ValueError("a text holds the character NUL")
        return value


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value as YAML and JSON know it, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
