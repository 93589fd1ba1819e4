"""What is counted of models is kept: of the presets in the package, of others on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from advantageflow.policy.configs import find_configs
from advantageflow.settings import RunSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.work import Work
from advantageflow_pipelines.plan.counts import SHIPPED, counts_key, kept_counts
from advantageflow_pipelines.plan.estimate import count_prompts
from advantageflow_pipelines.presets import list_presets


def work_of(settings: RunSettings) -> Mapping[str, Work]:
    return pipeline_of(settings).work(settings, count_prompts(settings)[1])


def key_of(settings: RunSettings) -> str:
    return counts_key(settings, work_of(settings), find_configs(settings.model)[0])


def test_what_is_shipped_for_the_presets_is_what_counting_gives(update_golden: bool) -> None:
    """`make golden` counts all presets again, in minutes; here the smallest is."""
    from advantageflow_pipelines.plan.model_costs import count

    presets = {name: choose_settings(preset=name) for name in list_presets()}
    again = {key_of(one): one for one in (presets.values() if update_golden else [presets["tiny"]])}
    counted = {key: asdict(count(one, work_of(one), print)) for key, one in again.items()}
    if update_golden:
        SHIPPED.write_text(json.dumps(counted, separators=(",", ":")) + "\n")
    shipped = json.loads(SHIPPED.read_text())
    assert {key_of(one) for one in presets.values()} == set(shipped), "if that is meant, run `make golden`"
    assert shipped.items() >= json.loads(json.dumps(counted)).items(), "if that is meant, run `make golden`"


def test_settings_that_do_not_matter_are_no_part_of_the_key_and_others_are() -> None:
    known = key_of(choose_settings(preset="tiny"))
    for same in ("rounds=9", "training.learning_rate=1", "rollout.shards=1", "evaluation.every=7", "seed=3",
                 "rollout.prompts_per_round=7", "prompts.source=shapes-hard", "pipeline=resident",
                 "training.microbatch=500"):  # fmt: skip
        assert key_of(choose_settings(preset="tiny", assignments=[same])) == known, same
    for other in ("training.lora.rank=3", "rollout.batch_groups=2", "training.microbatch=3", "model.dtype=bfloat16"):
        assert key_of(choose_settings(preset="tiny", assignments=[other])) != known, other


def test_what_was_counted_once_is_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shipped = kept_counts(next(iter(json.loads(SHIPPED.read_text()))), lambda: pytest.fail("it is shipped"))
    assert kept_counts("mine", lambda: shipped) == shipped
    assert kept_counts("mine", lambda: pytest.fail("it is kept")) == shipped
    (tmp_path / "advantageflow" / "plan" / "mine.json").write_text("{}")
    assert kept_counts("mine", lambda: shipped) == shipped, "damaged, and counted again"
