"""The model card of an exported policy: what it is, how it is loaded, what it came to, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from advantageflow.evaluation.labels import strict_label
from advantageflow.settings import ModelSettings
from advantageflow.shown import markdown
from advantageflow.store.policies import PolicyState


def model_card(
    name: str,
    state: PolicyState,
    model: ModelSettings,
    licence: Mapping[str, str],
    *,
    fused: bool,
    summary: Mapping[str, Any] | None,
    samples: Sequence[tuple[str, str]],
    call: str,
) -> str:
    """README.md for the hub: YAML that it reads, and Markdown for people.

    Args:
        name: of the model.
        state: of the policy.
        model: its base model.
        licence: of the base model: fields of the hub's cards.
        fused: whether the folder holds the whole model, or an adapter of it.
        summary: of the run that trained it, as in summary.json; None where it is not known.
        samples: text and file of each sample picture.
        call: how the pipeline is called in Python, such as 'image = pipe("a red circle").images[0]'.
    """
    link = {"base_model": model.name, "base_model_relation": "finetune" if fused else "adapter"}
    widget = [{"text": text, "output": {"url": file}} for text, file in samples]
    front = {
        **licence,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        **(link if is_hub_id(model) else {}),
        "tags": ["text-to-image", "diffusers", *([] if fused else ["lora", "peft"]), "reinforcement-learning"],
        **({"widget": widget} if widget else {}),
    }
    base = f"[{model.name}](https://huggingface.co/{model.name})" if is_hub_id(model) else f"`{model.name}`"
    if model.name == "shapes":
        base = "AdvantageFlow's embedded model, `shapes`,"
    reward = ", ".join(f"`{term.name}.{term.column}`" for term in state.reward.terms)
    pictures = "\n".join(f"![{markdown(text)}]({file})" for text, file in samples)
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n# {markdown(name)}\n",
        f"{base} fine-tuned by reinforcement learning with AdvantageFlow ([arXiv 2605.26013]"
        f"(https://arxiv.org/abs/2605.26013)): {state.rounds} round{'s' * (state.rounds != 1)}, "
        f"{state.step} optimiser step{'s' * (state.step != 1)}, on reward {reward}."
        "\n",
        f"## Use\n\n```python\n{_usage(model, fused, call)}\n```\n",
        _results(summary),
        f"## Samples\n\n{pictures}\n" if pictures else "",
        _provenance(state, model),
        _licence(model, licence),
    ]
    return "\n".join(part for part in parts if part)


def is_hub_id(model: ModelSettings) -> bool:
    """Whether the base model is one of the hub, that a card can link to."""
    return model.name.count("/") == 1 and "://" not in model.name and not Path(model.name).exists()


def _usage(model: ModelSettings, fused: bool, call: str) -> str:
    folder = "FOLDER_OR_HUB_ID"
    lines = ["import torch", "from diffusers import DiffusionPipeline", ""]
    base = f'"{folder if fused else model.name}"'
    if model.name == "shapes" and not fused:
        lines.insert(0, "from advantageflow.policy.loading import EMBEDDED_MODEL")
        base = "EMBEDDED_MODEL"
    lines.append(f"pipe = DiffusionPipeline.from_pretrained({base}, torch_dtype=torch.{model.dtype})")
    if not fused:
        lines.append(f'pipe.load_lora_weights("{folder}")')
        lines.append(f'# or, with PEFT: pipe.transformer = PeftModel.from_pretrained(pipe.transformer, "{folder}")')
    return "\n".join([*lines, call])


def _results(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "## Results\n\nNo evaluation is recorded with this policy.\n"
    base, final, change = summary["base"], summary["final"], summary["difference"]
    change = summary.get("difference_to_base", change)
    low, high = change["strict_ci95"]
    rows = [f"| {markdown(task)} | {base['tasks'][task]:.3f} | {final['tasks'][task]:.3f} |" for task in final["tasks"]]
    return "\n".join([
        "## Results\n",
        f"{strict_label(final)} on {final['images']} held-out images, from equal prompts and noise:\n",
        "| task | base | tuned |", "|---|---|---|", *rows,
        f"| **mean of tasks** | {base['strict']:.3f} | **{final['strict']:.3f}** |\n",
        f"The mean changes by {change['strict']:+.3f} (95 % interval {low:+.3f} to {high:+.3f}).\n",
    ])  # fmt: skip


def _provenance(state: PolicyState, model: ModelSettings) -> str:
    lora = state.lora
    facts = {
        "policy_sha256": state.policy_sha256,
        "base": f"{model.name} at {model.revision}" if model.revision else model.name,
        "base_sha256": state.base_sha256,
        "adapter": None if lora is None else f"rank {lora.rank}, alpha {lora.alpha}, {', '.join(lora.targets or ())}",
        "seed": state.provenance.get("seed"),
    }
    lines = [f"- {name}: `{value}`" for name, value in facts.items() if value is not None]
    lines.append("- all settings, versions and the git revision: `provenance.json`")
    return "\n".join(["## Provenance\n", *lines, ""])


def _licence(model: ModelSettings, licence: Mapping[str, str]) -> str:
    named = licence.get("license_name") or licence.get("license")
    if named is None:
        return f"## Licence\n\nThat of the base model, {model.name}, whose folder does not say what it is.\n"
    link = f" ({licence['license_link']})" if "license_link" in licence else ""
    return f"## Licence\n\nThat of the base model: {named}{link}.\n"
