"""A plan on the terminal: a table of stages, then storage, weights and what to look out for."""

from dataclasses import astuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from advantageflow_pipelines.placing.cluster import TASK_SECONDS
from advantageflow_pipelines.plan.critical_path import CriticalPath
from advantageflow_pipelines.plan.estimate import Plan, StagePlan, needed_memory
from advantageflow_pipelines.plan.storage import Artifact
from advantageflow_pipelines.say import print_table, say

_NONE = "-"
_COLOURS = {"here": "green", "partly": "yellow", "missing": "yellow"}


def show_plan(console: Console, plan: Plan) -> None:
    """Print all of a plan."""
    say(console, *_head(plan))
    print_table(console, _stages(plan))
    say(console, *_totals(plan))
    print_table(console, _storage(plan))
    _weights(console, plan)
    for pitfall in ["", *plan.pitfalls] if plan.pitfalls else []:
        console.print("warning: " if pitfall else "", style="yellow", end="")
        say(console, pitfall)
    say(console, "", "what these figures rest on:", *(f"- {one}" for one in plan.assumptions))


def _head(plan: Plan) -> list[str]:
    model, speed = plan.model, plan.speed
    sizes = ", ".join(f"{part} {count / 1e6:,.1f} M" for part, count in model["parameters"].items())
    machine = "on the CPU" if speed is None else f"on {speed.count} x {speed.gpu.title}"
    return [
        f"preset {plan.preset}, {machine}",
        f"{model['name']} at {model['image_size']} x {model['image_size']} pixels, {model['text_tokens']} text tokens, "
        f"{model['dtype']}; parameters: {sizes}",
        f"sizes from: {model['sizes_from']}",
        "",
    ]


def _stages(plan: Plan) -> Table:
    memory = "tensors" if plan.speed is None else "GPU memory"
    table = _table("stage", "tasks", "images", "forward", "backward", "FLOPs", "GPU-hours", memory)
    for stage in plan.stages:
        table.add_row(*_stage(stage, on_gpu=plan.speed is not None))
    return table


def _stage(stage: StagePlan, *, on_gpu: bool) -> list[str]:
    work = stage.work
    memory = needed_memory(stage.memory) if on_gpu else sum(stage.memory.values())
    counts = [work.images or work.scored, work.forwards, work.backwards]
    return [
        stage.stage,
        f"{work.tasks}",
        *(f"{count:,}" if count else _NONE for count in counts),
        _NONE if stage.flops is None else f"{stage.flops:.2e}",
        _NONE if stage.gpu_hours is None else f"{stage.gpu_hours:,.2f}",
        f"{memory / 1e9:,.2f} GB" if memory else _NONE,
    ]


def _totals(plan: Plan) -> list[str]:
    notes: dict[str, str] = {}  # of two stages that score, one says how
    for stage in plan.stages:
        notes.setdefault(stage.note, stage.stage)
    lines = [f"{stage}: {note}" for note, stage in notes.items() if note]
    more = plan.path.parts["Kubeflow"]
    if plan.gpu_hours is not None:
        price = "" if plan.gpu_price is None else f", {plan.gpu_hours * plan.gpu_price:,.2f} at {plan.gpu_price:g} each"
        lines.append(
            f"this run: about {plan.gpu_hours:,.1f} GPU-hours{price}; {plan.path.hours - more:,.1f} hours by the clock"
        )
    if plan.kubeflow is not None:
        lines.append(f"on Kubeflow: {plan.kubeflow.words}")
        each = f"about {TASK_SECONDS:g} s for each task in line"
        lines.append(f"on Kubeflow: about {more * 60:.0f} min more by the clock, {each}")
    if plan.speed is not None and all(stage.gpu_hours is not None for stage in plan.stages):
        lines += _path(plan.path, plan.speed.count)
    return ["", *lines, ""]


def _path(path: CriticalPath, gpus: int) -> list[str]:
    """Before and after what runs side by side."""
    parts = ", ".join(f"{part} {hours:.2f}" for part, hours in path.parts.items())
    saved = ", ".join(f"{overlap} {hours:.2f}" for overlap, hours in path.saved.items() if hours >= 0.005)
    return [
        f"critical path on Kubeflow, {gpus} GPU{'s' if gpus > 1 else ''}: {path.hours:.2f} hours ({parts})",
        f"in line it would be {path.in_line:.2f} hours; what runs side by side saves: {saved or 'nothing'}",
    ]


def _storage(plan: Plan) -> Table:
    table = _table("artifacts of this run", "GB kept", "GB moved on a cluster")
    together = Artifact(*(sum(sizes) for sizes in zip(*map(astuple, plan.storage.values()), strict=True)))
    for kind, one in [*plan.storage.items(), ("together", together)]:
        if one.kept:
            table.add_row(kind, f"{one.kept / 1e9:,.2f}", f"{one.moved / 1e9:,.2f}")
    return table


def _weights(console: Console, plan: Plan) -> None:
    say(console, "", "weights:")
    for one in plan.weights:
        note = f" ({one.note})" if one.note else ""
        console.print(Text.assemble("- ", (one.state, _COLOURS[one.state]), f"{note}: "), end="", highlight=False)
        gate = "; gated: accept it on the hub, then `hf auth login`" if one.gated else ""
        say(console, f"{one.repository}, for {one.use}; {one.licence}{gate}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
