"""`advantageflow export`: a trained policy as a folder that the hub, diffusers and PEFT take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from advantageflow_pipelines.commands import options
from advantageflow_pipelines.say import Console, say, warn


def export(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_POLICY",
            help="A run's working folder (its last policy), a policy, or where one is published or registered.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder to write.")],
    fused: Annotated[
        bool, typer.Option("--fused", help="Write the whole model, with the adapter in its weights, not the adapter.")
    ] = False,
    runs: options.Runs = options.RUNS,
) -> None:
    """Write a trained policy for others: weights, model card with results and samples, licence of the base, provenance.

    Without --fused the folder is an adapter: `pipe.load_lora_weights(FOLDER)` in diffusers,
    `PeftModel.from_pretrained(pipe.transformer, FOLDER)` in PEFT. With it,
    `DiffusionPipeline.from_pretrained(FOLDER)`. `hf upload NAME FOLDER` puts it on the hub.
    """
    from advantageflow_pipelines.local.export import export_policy
    from advantageflow_pipelines.local.policies import find_policy

    found = find_policy(policy, runs)
    state, licence = export_policy(found, output, fused=fused)
    kind = "the whole model" if fused else "an adapter for diffusers and PEFT"
    console = Console()
    say(console, f"{output}: {kind}, {found.name}, policy {state.policy_sha256}")
    if not licence:
        warn(console, "the base model does not say its licence: add it to README.md before you publish the folder")
