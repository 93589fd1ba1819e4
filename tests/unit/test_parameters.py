"""A pipeline's typed parameters in a section of settings: found by name, read by type, checked as settings are."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import Field

from advantageflow.errors import SettingsError
from advantageflow.parameters import as_parameter, field_and_value, kind_of, locate, with_parameters
from advantageflow.settings import Settings


class Inner(Settings):
    """A section within the section."""

    strength: float | Literal["auto"] = Field(1.0, description="of the hold")
    steps: int = Field(2, ge=1)


class Outer(Settings):
    """A section with a setting of each kind."""

    steps: int = Field(4, ge=1)
    rate: float = Field(0.5, gt=0)
    name: str = "base"
    revision: str | None = None
    size: int | None = Field(None, ge=16)
    often: bool = False
    mode: Literal["some", "all"] = "some"
    inner: Inner = Field(default_factory=lambda: Inner())


@pytest.mark.parametrize(
    ("name", "carried", "value"),
    [
        ("steps", 8.0, 8),
        ("rate", 2, 2.0),
        ("often", True, True),
        ("name", "12", "12"),
        ("name", "", ""),
        ("revision", "12", "12"),
        ("revision", "", None),
        ("size", "32", 32),
        ("size", "", None),
        ("mode", "all", "all"),
        ("strength", "auto", "auto"),
        ("strength", "0.25", 0.25),
        ("strength", "6e-3", 0.006),
    ],
)
def test_a_value_is_read_by_the_type_of_its_setting(name: str, carried: Any, value: Any) -> None:
    changed = with_parameters(Outer(), {name: carried})
    path = locate(changed, name)
    assert path is not None
    found = field_and_value(changed, path)[1]
    assert (found, type(found)) == (value, type(value))


def test_what_is_not_given_stays_as_it_was_set_or_left() -> None:
    before = Outer.model_validate({"rate": 0.25, "inner": {"steps": 3}})
    after = with_parameters(before, {"strength": "auto"})
    assert after == Outer(rate=0.25, inner=Inner(steps=3, strength="auto"))
    assert after.model_fields_set == {"rate", "inner"}


def test_a_setting_of_the_section_itself_comes_before_one_within() -> None:
    assert (locate(Outer(), "steps"), locate(Outer(), "strength")) == (("steps",), ("inner", "strength"))
    assert locate(Outer(), "beta") is None


@pytest.mark.parametrize(
    ("parameters", "where", "message"),
    [
        ({"rate": -1.0}, "rate (parameter rate)", "-1.0 is not allowed"),
        ({"steps": 1.5}, "steps (parameter steps)", "1.5 is not allowed"),
        ({"mode": "al"}, "mode (parameter mode)", "'al' is not allowed"),
        ({"rat": 1.0}, "parameter rat", "these settings have no 'rat'"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(parameters: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        with_parameters(Outer(), parameters)
    assert refused.value.message == message
    assert refused.value.where.startswith(where)


def test_of_a_setting_that_takes_numbers_and_words_it_is_said_what_both_may_be() -> None:
    with pytest.raises(SettingsError) as refused:
        with_parameters(Outer(), {"strength": "strong"})
    assert (refused.value.where, refused.value.message) == ("strength (parameter strength)", "'strong' is not allowed")
    assert refused.value.remedy.startswith("give a number or one of")


@pytest.mark.parametrize(
    ("name", "kind", "carried"),
    [("steps", int, 4), ("rate", float, 0.5), ("often", bool, False), ("name", str, "base"),
     ("revision", str, ""), ("size", str, ""), ("mode", str, "some"), ("strength", str, "1.0")],
)  # fmt: skip
def test_a_parameter_has_the_type_of_its_setting_and_carries_its_value_there_and_back(
    name: str, kind: type, carried: Any
) -> None:
    path = locate(Outer(), name)
    assert path is not None
    field, value = field_and_value(Outer(), path)
    assert kind_of(field) is kind
    assert as_parameter(field, value) == carried
    assert with_parameters(Outer(), {name: carried}) == Outer()
