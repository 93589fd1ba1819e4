"""Settings that are wrong: named with their place and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from configured import error_of, override_error
from pydantic import BaseModel, ValidationError

from advantageflow.configure import load_settings
from advantageflow.errors import SettingsError
from advantageflow.settings import RewardTerm, RunSettings


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    error = error_of(tmp_path, "rounds: 3\nrollout: [1, 2\n")
    assert error.where.startswith(f"{tmp_path / 'run.yaml'}:")
    assert "not valid YAML" in error.message


def test_a_key_given_twice_names_both_lines(tmp_path: Path) -> None:
    error = error_of(tmp_path, "rounds: 3\nseed: 1\nrounds: 4\n")
    assert error.where == f"{tmp_path / 'run.yaml'}:3"
    assert "first on line 1" in error.message


@pytest.mark.parametrize(("text", "message"), [("", "is empty"), ("- 1", "holds list"), ("# nothing", "is empty")])
def test_a_file_without_settings_is_named(tmp_path: Path, text: str, message: str) -> None:
    error = error_of(tmp_path, text)
    assert (error.where, error.message.startswith(message)) == (str(tmp_path / "run.yaml"), True)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file") as caught:
        load_settings(None, tmp_path / "none.yaml")
    assert caught.value.where == str(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "where", "suggestion"),
    [
        ("rollout:\n  grup_size: 4\n", "rollout.grup_size", "rollout.group_size"),
        ("rollot:\n  group_size: 4\n", "rollot", "rollout"),
        ("group-size: 4\n", "group-size", "rollout.group_size"),
        ("training:\n  lora:\n    rnk: 4\n", "training.lora.rnk", "training.lora.rank"),
    ],
)
def test_an_unknown_key_names_its_path_and_line_and_the_nearest_key(
    tmp_path: Path, text: str, where: str, suggestion: str
) -> None:
    error = error_of(tmp_path, text)
    line = text.count("\n", 0, text.index(where.rpartition(".")[2])) + 1
    assert error.where == f"{where} ({tmp_path / 'run.yaml'}:{line})"
    assert f"did you mean '{suggestion}'?" in error.remedy


@pytest.mark.parametrize(
    ("override", "value", "allowed"),
    [
        ("rounds=many", "'many'", "a whole number, at least 1, at most 1000"),
        ("rounds=2.5", "2.5", "a whole number"),
        ("rounds=true", "True", "a whole number"),
        ("seed=-1", "-1", "at least 0"),
        ("rollout.shift=0", "0", "a number, above 0"),
        ("rollout.sampler=eular", "'eular'", "one of euler, heun, ab2"),
        ("training.objective.normalise_error=yes", "'yes'", "true or false"),
        ("training.lora=5", "5", "a section with rank, alpha, targets"),
        ("training.lora.targets=[]", "[]", "a list, each item text, at least 1 of them"),
        ("training.adam_betas=[0.9, x]", "'x'", "a list of 2, each item a number"),
        ("model.revision=[1]", "[1]", "text or null"),
        ("training.objective.lam=foo", "'foo'", "a number or one of auto"),
        ("training.decay_rounds=-1", "-1", "a whole number, at least 0 or one of all"),
        ("training.rollout_decay=2", "2", "a number, at least 0, at most 1 or one of nft_0"),
        ("training.lora.targets=[1]", "1", "a list, each item text"),
    ],
)
def test_a_wrong_value_names_its_path_the_value_and_what_is_allowed(override: str, value: str, allowed: str) -> None:
    error = override_error(override)
    assert error.where.startswith(override.partition("=")[0])
    assert f"--set {override}" in error.where
    assert error.message == f"{value} is not allowed"
    assert allowed in error.remedy


@pytest.mark.parametrize("size", ["1", "0", "-4"])
def test_a_group_that_cannot_be_normalised_says_why_and_what_is_usual(size: str) -> None:
    error = override_error(f"rollout.group_size={size}")
    assert error.message == f"{size} is not allowed"
    assert "at least 2" in error.remedy
    assert "8 to 24 is usual" in error.remedy


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    error = error_of(tmp_path, "rounds: 0\nsede: 1\nrollout:\n  group_size: 1\ntraining:\n  learning_rate: fast\n")
    assert "4 settings are wrong" in error.message
    for part in (
        "rounds (",
        "sede (",
        "did you mean 'seed'",
        "rollout.group_size (",
        "training.learning_rate (",
        ":6)",
    ):
        assert part in error.message


@pytest.mark.parametrize("override", ["rounds", "=3", "rollout..steps=3", ".rounds=3", ""])
def test_an_override_of_another_form_shows_the_form(override: str) -> None:
    error = override_error(override)
    assert error.where == f"--set {override}"
    assert "--set rollout.group_size=16" in error.remedy


def test_an_override_below_a_value_is_refused() -> None:
    assert "'training.adam_betas' is not a section" in override_error("training.adam_betas=[0.9, 0.9]",
                                                                   "training.adam_betas.0=0.5").message  # fmt: skip


def test_an_override_that_is_no_yaml_says_how_to_quote() -> None:
    assert "quote the value" in override_error("prompts.source=[a").remedy


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["training.gradient_steps=3", "training.inner_epochs=2"], "training"),
        (["training.adam_betas=[0.9, 1.0]"], "training.adam_betas.1"),
        (["training.checkpoint_every=1"], "training.checkpoint_every"),
        (["rollout.trajectories=true"], "rollout.trajectories"),
        (["training.gradient_steps=4000"], "training.gradient_steps"),
        (["evaluation.sample_prompts=9", "prompts.eval_prompts=8"], "evaluation.sample_prompts"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(overrides: list[str], where: str) -> None:
    assert override_error(*overrides).where.startswith(where)


@pytest.mark.parametrize(
    ("value", "where", "message", "remedy"),
    [
        ("jpeg", "reward.others", "'jpeg' is not allowed", "a list, each item a section with name, column, weight"),
        ("[jpeg]", "reward.others.0", "'jpeg' is not allowed", "for example [{name: jpeg,"),
        ("{name: jpeg}", "reward.others", "{'name': 'jpeg'} is not allowed", "for example [{name: jpeg,"),
        ("[{name: jpeg, weight: 0}]", "reward.others.0.weight", "0 is not allowed", "a number, above 0"),
        ("[{name: jpeg, wieght: 1}]", "reward.others.0.wieght", "no such setting", "'reward.others.0.weight'?"),
    ],
)
def test_further_rewards_that_are_wrong_say_where_and_how(value: str, where: str, message: str, remedy: str) -> None:
    error = override_error(f"reward.others={value}")
    assert error.where == f"{where} (--set reward.others={value})"
    assert message in error.message
    assert remedy in error.remedy


def test_an_item_of_a_list_cannot_be_set_alone() -> None:
    error = override_error("reward.others=[{name: jpeg, column: compressibility}]", "reward.others.0.weight=2")
    assert "--set 'reward.others=[...]'" in error.remedy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training: {learning_rate: .inf}", "'.inf' is not allowed"),
        ("seed: " + "1" * 5000, "a number of 5,000 digits"),
        ("rounds: " + "[" * 70 + "]" * 70, "nested more than 64 deep"),
        ("preset: 'a\0b'", "is not valid YAML"),
        ('preset: "a\\0b"', "holds the control character U.0000"),
        ('preset: "\\ud800"', "half of a surrogate pair"),
        ("preset: " + "a" * 1_100_000, "is larger than 1,000,000 bytes"),
        (
            "reward: {options: {base_url: 'http://me:secret@host'}}",
            "reward.options .*: http://me:[*]{3}@host holds a passw",
        ),
        ("prompts: {source: '{{$.inputs}}'}", "Kubeflow would read '{{[$]' as a placeholder"),
    ],
)
def test_what_no_file_or_pipeline_could_hold_is_refused(tmp_path: Path, text: str, words: str) -> None:
    error = error_of(tmp_path, text)
    assert re.search(words, str(error))
    assert "secret" not in str(error)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused_in_every_setting(value: float) -> None:
    def numbers(kind: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
        for name, field in kind.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from numbers(field.annotation)
            elif "float" in str(field.annotation):
                yield kind, name

    found = list(numbers(RunSettings))
    assert len(found) > 20
    for kind, name in found:
        with pytest.raises(ValidationError):
            kind.model_validate({name: value})
    with pytest.raises(ValidationError):
        RewardTerm.model_validate({"options": {"reach": value}})
