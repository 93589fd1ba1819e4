"""What a person changes from run to run, as the run form shows it: a line for each, in the form's order."""

from __future__ import annotations

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.online.schedule import evaluations
from advantageflow_pipelines.pipelines.parameters import Parameter

PARAMETERS = (
    # name in the form, section of the settings, setting in it (or in a section within it), stage that is given it
    Parameter("prompts_source", "prompts", "source", "prompts"),
    Parameter("prompts_per_round", "rollout", "prompts_per_round", "rollout"),
    Parameter("group_size", "rollout", "group_size", "rollout"),
    Parameter("rollout_guidance_scale", "rollout", "guidance_scale", "rollout"),
    Parameter("learning_rate", "training", "learning_rate", "training", "of AdamW, at the beginning"),
    Parameter("lam", "training", "lam", "training"),
    Parameter("evaluation_images", "evaluation", "images"),
    Parameter("round_images", "evaluation", "round_images"),
    Parameter("evaluation_guidance_scale", "evaluation", "guidance_scale", "evaluation", "as of rollouts"),
)


def parameters(settings: RunSettings) -> list[Parameter]:
    """Those of a run: how many images the evaluations between rounds take is none where there are no such."""
    between = evaluations(settings)[1:-1]
    return [one for one in PARAMETERS if one.name != "round_images" or between]
