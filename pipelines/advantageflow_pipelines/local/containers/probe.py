"""Whether rewards and an objective that are not built in are in the images, found out before a run starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advantageflow.objectives.base import Objective
from advantageflow.objectives.registry import BUILT_IN as OBJECTIVES
from advantageflow.rewards.plumbing.registry import BUILT_IN as REWARDS
from advantageflow.settings import RewardSettings
from advantageflow_pipelines.local.containers.engine import ContainerError

if TYPE_CHECKING:
    from docker.client import DockerClient

_MAKE_REWARDS = """
import json, sys
from advantageflow.errors import UserError
from advantageflow.rewards.plumbing.registry import get_reward
try:
    for name, options in json.loads(sys.argv[1]).items():
        get_reward(name, options)
except UserError as error:
    sys.exit(f"{error.where}: {error.message}")
"""
_MAKE_OBJECTIVE = """
import json, sys
from advantageflow.objectives.registry import make_objective
from advantageflow.problems import SectionError
try:
    make_objective(json.loads(sys.argv[1]))
except SectionError as error:
    sys.exit(str(error))
"""


def check_rewards(client: DockerClient, images: Sequence[str], settings: RewardSettings) -> None:
    """Check that the images that score have the rewards that are not built in.

    The folder in which the run is started is not in the images: a reward of one's own must be installed in them.

    Raises:
        ContainerError: an image lacks one.
    """
    terms = (*settings.terms, *settings.watched)
    own = {term.name: term.options for term in terms if term.name not in REWARDS}
    if own:
        for image in dict.fromkeys(images):
            _make(client, image, _MAKE_REWARDS, own, f"reward {', '.join(own)}")


def check_objective(client: DockerClient, image: str, objective: Objective) -> None:
    """Check that the image that trains has the objective, if it is not built in.

    Raises:
        ContainerError: the image lacks it.
    """
    if objective.name not in OBJECTIVES:
        _make(client, image, _MAKE_OBJECTIVE, objective.model_dump(mode="json"), f"objective {objective.name}")


def _make(client: DockerClient, image: str, code: str, told: dict[str, Any], what: str) -> None:
    from docker.errors import ContainerError as Failed

    try:
        client.containers.run(image, ["python3", "-c", code, json.dumps(told)], remove=True, network_mode="none")
    except Failed as failure:
        lines = failure.stderr.decode(errors="replace").strip().splitlines()
        message = f"{what} cannot be made there{': ' if lines else ''}{''.join(lines[-1:])}"
        remedy = (
            "containers do not see your own modules: install their package in an image that is made FROM this one, "
            "and name that with --images FILE; or use --runner subprocess"
        )
        raise ContainerError(message, where=image, remedy=remedy) from failure
