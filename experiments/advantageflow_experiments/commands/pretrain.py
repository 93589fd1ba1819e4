"""`advantageflow pretrain-shapes`: the embedded model from nothing, or a few-step model from it."""

from pathlib import Path
from typing import Annotated

from typer import Option

from advantageflow_pipelines.say import Console


def pretrain_shapes(
    output: Annotated[Path, Option("--output", "-o", help="Folder to write the diffusers pipeline to.")],
    seed: Annotated[int, Option(min=0, help="Seed of scenes, weights and batches.")] = 0,
    threads: Annotated[int, Option(min=1, help="CPU threads.")] = 2,
    effort: Annotated[float, Option(min=0.0001, max=1.0, help="Share of the full number of scenes and steps.")] = 1.0,
    mean_flow: Annotated[
        bool, Option("--mean-flow", help="Distil the shipped model into one of one to four steps instead.")
    ] = False,
) -> None:
    """Pretrain the embedded model from nothing, as the one that is shipped was (under an hour on two cores).

    With --mean-flow a model of average velocities is distilled from the shipped one (some minutes); it is sampled with
    rollout.sampler=euler and evaluation.sampler=euler.
    """
    from advantageflow_experiments.shapes.distil import DistilSettings, distil
    from advantageflow_experiments.shapes.pretrain import PretrainSettings, pretrain

    console = Console()

    def report(line: str) -> None:
        console.print(line, highlight=False)

    if mean_flow:
        distil(output, DistilSettings(seed=seed, threads=threads).scaled(effort), report)
    else:
        pretrain(output, PretrainSettings(seed=seed, threads=threads).scaled(effort), report)
    console.print(f"written to {output}; use it with --set model.name={output}", markup=False, soft_wrap=True)
