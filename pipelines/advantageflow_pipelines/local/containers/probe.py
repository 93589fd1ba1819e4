"""Whether rewards that are not built in are in the images, found out before a run starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from advantageflow.rewards.plumbing.registry import BUILT_IN
from advantageflow.settings import RewardSettings
from advantageflow_pipelines.local.containers.engine import ContainerError

if TYPE_CHECKING:
    from docker.client import DockerClient

_PROBE = """
import json, sys
from advantageflow.errors import UserError
from advantageflow.rewards.plumbing.registry import get_reward
try:
    for name, options in json.loads(sys.argv[1]).items():
        get_reward(name, options)
except UserError as error:
    sys.exit(f"{error.where}: {error.message}")
"""


def check_rewards(client: DockerClient, images: Mapping[str, str], settings: RewardSettings) -> None:
    """Check that the images that score have the rewards that are not built in.

    The folder in which the run is started is not in the images: a reward of one's own must be installed in them.

    Args:
        client: of the engine.
        images: of the stages that make rewards.
        settings: which rewards.

    Raises:
        ContainerError: an image lacks one.
    """
    from docker.errors import ContainerError as Failed

    terms = (*settings.terms, *settings.watched)
    own = {term.name: term.options for term in terms if term.name not in BUILT_IN}
    if not own:
        return
    for image in dict.fromkeys(images.values()):
        try:
            client.containers.run(image, ["python3", "-c", _PROBE, json.dumps(own)], remove=True, network_mode="none")
        except Failed as failure:
            lines = failure.stderr.decode(errors="replace").strip().splitlines()
            message = f"reward {', '.join(own)} cannot be made there{': ' if lines else ''}{''.join(lines[-1:])}"
            remedy = (
                "containers do not see your own modules: install the reward's package in images that are made FROM "
                f"those of {', '.join(images)}, and name these with --images FILE; or use --runner subprocess"
            )
            raise ContainerError(message, where=image, remedy=remedy) from failure
