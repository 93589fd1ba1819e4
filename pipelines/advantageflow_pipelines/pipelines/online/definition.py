"""The online pipeline as the registry knows it; what defines it for Kubeflow is imported when it is built."""

from importlib.resources import files

from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.definition import Output, Pipeline, Stage, imported
from advantageflow_pipelines.pipelines.online.work import count_tasks, describe, evaluations, run_work
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
"""What a person changes from run to run, in the form's order."""


def parameters(settings: RunSettings) -> list[Parameter]:
    """Those of a run: how many images the evaluations between rounds take is none where there are no such."""
    between = evaluations(settings)[1:-1]
    return [one for one in PARAMETERS if one.name != "round_images" or between]


ONLINE = Pipeline(
    name="online",
    summary="fine-tune a rectified-flow model by rounds of rollout, reward and training",
    stages=(
        Stage("prompts", on_model_device=True, rewards="all"),  # which it tries on golden pictures
        Stage("rollout", on_model_device=True, sharded=True),
        Stage("reward", rewards="trained on", sharded=True),
        Stage("training", on_model_device=True, over_nodes=True),
        Stage("evaluation", on_model_device=True, rewards="all"),
    ),
    build=imported(f"{__package__}.pipeline", "online_tasks"),
    inline=imported(f"{__package__}.inline", "run_online"),
    describe=describe,
    evaluations=evaluations,
    tasks=count_tasks,
    work=run_work,
    prompts=Output("prompts", "prompts"),
    policies=(Output("prompts", "policy"), Output("training", "new_policy")),
    report=Output("evaluation", "report"),
    parameters=parameters,
    handed=("prompts", "conditioning", "policy", "rollout_policy", "base"),
    resources=files(__package__) / "resources",
)
