"""What is counted of models is kept: of known ones in the package, of others on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from advantageflow.errors import StoreError
from advantageflow.policy.configs import find_configs, known_models
from advantageflow.settings import ModelSettings, RunSettings
from advantageflow_pipelines.configuration.choices import choose_settings
from advantageflow_pipelines.plan.counts import SHIPPED, ModelCounts, counts_key, counts_of, kept_counts
from advantageflow_pipelines.presets import list_presets

Counted = tuple[ModelSettings, tuple[str, ...] | None]
"""A model, and the layers that get adapters."""


def counted(settings: RunSettings) -> Counted:
    return settings.model, settings.training.lora.targets


def key(model: ModelSettings, targets: tuple[str, ...] | None) -> str:
    return counts_key(model, targets, find_configs(model)[0])


def all_shipped() -> Iterator[Counted]:
    """Those of the presets, and what a preset becomes where another known model is named."""
    yield from (counted(choose_settings(preset=name)) for name in list_presets())
    for name in known_models():
        yield ModelSettings(name=name, dtype="bfloat16", max_sequence_length=128), None


def shipped(model: ModelSettings, targets: tuple[str, ...] | None) -> ModelCounts:
    return TypeAdapter(ModelCounts).validate_python(json.loads(SHIPPED.read_text())[key(model, targets)])


def test_what_is_shipped_gives_what_counting_gives_at_any_rank_size_and_batch(update_golden: bool) -> None:
    """`make golden` counts all models again, in ten minutes; here the smallest is, at values between."""
    from advantageflow_pipelines.plan import model_costs

    wanted = {key(*one): one for one in all_shipped()}
    if update_golden:
        anew = {name: asdict(model_costs.count_known(*one)) for name, one in wanted.items()}
        SHIPPED.write_text(json.dumps(anew, separators=(",", ":")) + "\n")
    assert set(json.loads(SHIPPED.read_text())) == set(wanted), "if that is meant, run `make golden`"
    for model, targets in wanted.values() if update_golden else [counted(choose_settings(preset="tiny"))]:
        known, skeleton = shipped(model, targets), model_costs.make_skeleton(model)
        again = model_costs.count(skeleton, targets, (known.ranks[0] + 7,), (known.heights[1],))
        assert again.parameters == known.parameters
        assert (again.weights, again.encode, again.encoding) == (known.weights, known.encode, known.encoding)
        for batch, figures in zip(again.batches, again.figures, strict=True):
            found = known.at(again.ranks[0], again.heights[0], batch)
            assert found._replace(trained=0, recomputed=0) == pytest.approx(figures._replace(trained=0, recomputed=0))
            # The peak of so small a model as the embedded one moves, with the rank, from one layer to another.
            assert found[4:6] == pytest.approx(figures[4:6], rel=0.02 if model.name == "shapes" else 1e-3)


def test_a_run_with_another_rank_size_batch_or_rewards_needs_nothing_but_what_is_shipped() -> None:
    def memory(*assignments: str) -> float:
        settings = choose_settings(preset="sd35-geneval", assignments=list(assignments))
        known = kept_counts(settings, find_configs(settings.model)[0], lambda: pytest.fail("it is shipped"))
        return sum(counts_of(settings, known).training(settings).values())

    usual = memory()
    assert memory("training.lora.rank=48", "training.lora.alpha=1") > usual
    assert memory("training.microbatch=8") < 0.7 * usual
    assert memory("training.gradient_checkpointing=true") < memory("training.microbatch=8")
    assert memory("model.image_size=1024") > 3 * usual
    assert memory("model.name=black-forest-labs/FLUX.1-dev", "training.lora.targets=null") > 2 * usual


def test_the_key_is_of_all_that_counting_depends_on() -> None:
    model = choose_settings(preset="tiny").model
    known = key(model, None)
    assert key(model.model_copy(update={"image_size": 32, "device": "cuda"}), None) == known
    assert key(model.model_copy(update={"dtype": "bfloat16"}), None) != known
    assert key(model.model_copy(update={"max_sequence_length": 11}), None) != known
    assert key(model, ("attn.to_q",)) != known


def test_a_corrupt_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text("{")
    with pytest.raises(StoreError, match=r"transformer/config\.json: cannot be read"):
        counts_key(choose_settings(preset="tiny").model, None, tmp_path)


def test_what_was_counted_once_is_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = choose_settings(preset="tiny", assignments=["training.lora.targets=[attn.to_q]"])
    configs, counts = find_configs(own.model)[0], shipped(*counted(choose_settings(preset="tiny")))
    assert kept_counts(own, configs, lambda: counts) == counts
    assert kept_counts(own, configs, lambda: pytest.fail("it is kept")) == counts
    (kept,) = (tmp_path / "advantageflow" / "plan").iterdir()
    kept.write_text("{}")
    assert kept_counts(own, configs, lambda: counts) == counts, "damaged, and counted again"
