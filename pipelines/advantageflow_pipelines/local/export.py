"""A policy as a folder for the hub: weights, model card, sample pictures, licence, provenance."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from advantageflow.evaluation.labels import judged_on, strict_label
from advantageflow.evaluation.pictures import read_samples
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import EvaluationSettings, ModelSettings
from advantageflow.shown import markdown
from advantageflow.store.files import write_json, write_text, writing
from advantageflow.store.policies import PolicyState
from advantageflow.tracking.provenance import provenance
from advantageflow_pipelines.local.policies import FoundPolicy
from advantageflow_pipelines.local.summary import read_summary
from advantageflow_pipelines.local.workdir import WorkDir, make_output, open_workdir

if TYPE_CHECKING:
    from advantageflow.policy.saved import SavedPolicy


CARD_FILE = "README.md"
PROVENANCE_FILE = "provenance.json"
SAMPLES_FOLDER = "samples"


def export_policy(found: FoundPolicy, folder: Path, *, fused: bool) -> tuple[PolicyState, Mapping[str, str]]:
    """Write a trained policy for others: its adapter for diffusers and PEFT, or the whole model.

    Args:
        fused: write the base model with the adapter in its weights.

    Returns:
        The policy's state, and the licence of its base as fields of the hub's cards; none where the base does not say.

    Raises:
        PolicyError: it is the base model itself, an adapter without a record, or its weights cannot be used.
        StoreError: the folder is not empty, or cannot be written.
    """
    from advantageflow.policy.base_model import base_licence
    from advantageflow.policy.saved import check_all_files

    found.trained_state()
    saved = check_all_files(found.path)
    run = found.run or _run_of(found.path)
    model = saved.state.model or ModelSettings()
    licence = base_licence(model)
    make_output(folder)
    with writing(folder):
        if fused:
            from advantageflow.policy.base_model import write_fused

            write_fused(saved, model, folder)
        else:
            _write_adapter(saved, model, folder)
        for file in licence.files:
            shutil.copyfile(file, folder / file.name)
        samples = [] if run is None else _copy_samples(run, folder)
        write_json(folder / PROVENANCE_FILE, _provenance(saved.state, run))
        sampling = EvaluationSettings() if run is None else run.settings.evaluation
        card = model_card(
            folder.resolve().name, saved.state, model, licence.fields, fused=fused, samples=samples,
            summary=None if run is None else read_summary(run), call=call_in_python(model, sampling, samples),
        )  # fmt: skip
        write_text(folder / CARD_FILE, card)
    return saved.state, licence.fields


def _run_of(policy: Path) -> WorkDir | None:
    """The run in whose working folder a policy lies, if it is its last: what the run came to is what the policy did."""
    for folder in policy.absolute().parents:
        if (folder / "settings.yaml").is_file():
            workdir = open_workdir(folder)
            policies = workdir.policies()
            return workdir if policies[max(policies)] == policy.absolute() else None
    return None


def _write_adapter(saved: SavedPolicy, model: ModelSettings, folder: Path) -> None:
    """In PEFT's layout and diffusers'."""
    from advantageflow.policy.saved import write_diffusers, write_peft

    lora = saved.state.lora
    if lora is not None:
        write_peft(folder, saved.tensors[ADAPTER_FOLDER], lora, model)
        write_diffusers(folder, saved.tensors[ADAPTER_FOLDER], lora)


def _copy_samples(run: WorkDir, folder: Path) -> list[tuple[str, str]]:
    """Copy the pictures of the run's last evaluation; their texts and files."""
    reports = run.reports()
    if not reports:
        return []
    report = reports[max(reports)]
    (folder / SAMPLES_FOLDER).mkdir()
    copied = []
    for number, (sample, picture) in enumerate(read_samples(report)):
        name = f"{SAMPLES_FOLDER}/{number:02d}.png"
        picture.save(folder / name)
        copied.append((sample.text, name))
    return copied


def _provenance(state: PolicyState, run: WorkDir | None) -> dict[str, Any]:
    """What made the policy, and what exported it."""
    told: dict[str, Any] = {"policy": state.model_dump(mode="json"), "exported_with": provenance()}
    if run is None:
        return told
    return {**told, "summary": read_summary(run), "run": run.settings.model_dump(mode="json")}


def call_in_python(model: ModelSettings, sampling: EvaluationSettings, samples: Sequence[tuple[str, str]]) -> str:
    """How the pipeline is called in Python to paint as the run evaluated, at its noise levels by Euler's method."""
    from advantageflow.policy.loading import load_family

    text = json.dumps(samples[0][0] if samples else "a red circle", ensure_ascii=False)
    told = load_family(model).told_of_guidance(sampling.guidance_scale)
    options: dict[str, Any] = {"num_inference_steps": sampling.steps}
    options |= {name: json.dumps(value) for name, value in told.items()}
    if model.image_size is not None:
        options |= {"height": model.image_size, "width": model.image_size}
    options |= {"max_sequence_length": model.max_sequence_length}
    lines = []
    if sampling.grid == "even":  # which diffusers' scheduler would shift, and end elsewhere
        even = "shift=1.0, use_dynamic_shifting=False, shift_terminal=None"
        lines.append(f"pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, {even})")
        levels = f"{sampling.shift:g} * k / ({sampling.steps} + {sampling.shift - 1:g} * k)"
        levels = f"k / {sampling.steps}" if sampling.shift == 1 else levels
        options["sigmas"] = f"[{levels} for k in range({sampling.steps}, 0, -1)]"
    call = f"pipe({text}, {', '.join(f'{name}={value}' for name, value in options.items())}).images[0]"
    return "\n".join([*lines, f"image = {call}"])


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
        _facts(state, model),
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
    lines.append(f"pipe = DiffusionPipeline.from_pretrained({base}, dtype=torch.{model.dtype})")
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
        f"{strict_label(final)} on {judged_on(final)}, from equal prompts and noise:\n",
        "| task | base | tuned |", "|---|---|---|", *rows,
        f"| **mean of tasks** | {base['strict']:.3f} | **{final['strict']:.3f}** |\n",
        f"The mean changes by {change['strict']:+z.3f} (95 % interval {low:+z.3f} to {high:+z.3f}).\n",
    ])  # fmt: skip


def _facts(state: PolicyState, model: ModelSettings) -> str:
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
