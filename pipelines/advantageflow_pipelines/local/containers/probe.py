"""Whether rewards and an objective that are not built in are in the images, found out before a run starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advantageflow.objectives.registry import BUILT_IN as OBJECTIVES
from advantageflow.rewards.plumbing.registry import BUILT_IN as REWARDS
from advantageflow.settings import RunSettings
from advantageflow_pipelines.local.containers.engine import ContainerError
from advantageflow_pipelines.placing.images import StageImages

if TYPE_CHECKING:
    from docker.client import DockerClient

SCORING = ("prompts", "reward", "evaluation")  # the stages that make rewards

_PROBE_REWARDS = """
import json, sys
from advantageflow.errors import UserError
from advantageflow.rewards.plumbing.registry import get_reward
try:
    for name, options in json.loads(sys.argv[1]).items():
        get_reward(name, options)
except UserError as error:
    sys.exit(f"{error.where}: {error.message}")
"""
_PROBE_OBJECTIVE = """
import json, sys
from advantageflow.objectives.registry import make_objective
from advantageflow.problems import SectionError
try:
    make_objective(json.loads(sys.argv[1]))
except SectionError as error:
    sys.exit(str(error))
"""


def check_own_classes(client: DockerClient, images: StageImages, settings: RunSettings) -> None:
    """Check that the images have the rewards and the objective of the settings that are not built in.

    The folder in which the run is started is not in the images: what is one's own must be installed in them.

    Raises:
        ContainerError: an image lacks one.
    """
    terms = (*settings.reward.terms, *settings.reward.watched)
    rewards = {term.name: term.options for term in terms if term.name not in REWARDS}
    if rewards:
        _probe(client, images, SCORING, _PROBE_REWARDS, rewards, f"reward {', '.join(rewards)}")
    objective = settings.training.objective
    if objective.name not in OBJECTIVES:
        told = objective.model_dump(mode="json")
        _probe(client, images, ("training",), _PROBE_OBJECTIVE, told, f"objective {objective.name}")


def _probe(
    client: DockerClient, images: StageImages, stages: Sequence[str], code: str, told: dict[str, Any], what: str
) -> None:
    from docker.errors import ContainerError as Failed

    for image in dict.fromkeys(images.of(stage) for stage in stages):
        try:
            client.containers.run(image, ["python3", "-c", code, json.dumps(told)], remove=True, network_mode="none")
        except Failed as failure:
            lines = failure.stderr.decode(errors="replace").strip().splitlines()
            message = f"{what} cannot be made there{': ' if lines else ''}{''.join(lines[-1:])}"
            remedy = (
                "containers do not see your own modules: install their package in images that are made FROM "
                f"those of {', '.join(stages)}, and name these with --images FILE; or use --runner subprocess"
            )
            raise ContainerError(message, where=image, remedy=remedy) from failure
