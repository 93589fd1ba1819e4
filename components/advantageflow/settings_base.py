"""The base of all settings."""

import math
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from advantageflow.shown import masked

_PLACEHOLDER = "{{$"


class Settings(BaseModel):
    """Base of all settings: immutable, strict about types, finite, unknown keys rejected; texts are such that files and
    compiled pipelines can hold them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _can_be_written(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in (annotation, *get_args(annotation))):
            return value  # a section, or several: each looks at its own
        for text in _leaves(value):
            if isinstance(text, float) and not isinstance(value, float) and not math.isfinite(text):
                raise ValueError(f"{text} is not a finite number")
            if not isinstance(text, str):
                continue
            if masked(text) != text:
                raise ValueError(
                    f"{masked(text)} holds a password, which would be written into files: keep it in an environment "
                    "variable (reward vlm: api_key_env, as 'Basic user:password')"
                )
            if _PLACEHOLDER in text:
                raise ValueError(f"Kubeflow would read '{_PLACEHOLDER}' as a placeholder")
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError("a text holds half of a surrogate pair")
            if control := next((one for one in text if unicodedata.category(one) == "Cc" and one not in "\t\n\r"), ""):
                raise ValueError(f"a text holds the control character U+{ord(control):04X}")
        return value


def _leaves(value: Any) -> Iterator[Any]:
    """All texts, numbers and keys in a value as YAML and JSON know it, at any depth."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
