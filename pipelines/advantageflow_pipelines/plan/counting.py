"""Counting what a plan needs to know of a model and its rewards, on the model's true shape without its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from diffusers.utils import logging

from advantageflow.policy.configs import model_configs
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.work import Work
from advantageflow_pipelines.plan.counts import Counts, counted_alone
from advantageflow_pipelines.plan.model_costs import count_operations, count_parameters
from advantageflow_pipelines.plan.rewards import reward_cost
from advantageflow_pipelines.plan.skeleton import make_skeleton
from advantageflow_pipelines.plan.stages import stage_memory
from advantageflow_pipelines.say import quiet


def count(settings: RunSettings, work: Mapping[str, Work], progress: Callable[[str], None]) -> Counts:
    """Count by building each part on torch's meta device and running one sample through it.

    Args:
        settings: of the run.
        work: of its stages.
        progress: told what is being counted.

    Raises:
        PolicyError: the model's configuration is not here, or is of a family that is not supported.
    """
    quiet()
    logging.set_verbosity_error()  # diffusers warns of every cast, and nothing here is computed with
    settings = counted_alone(settings)
    configs = model_configs(settings.model)
    skeleton = make_skeleton(settings.model, configs)
    progress("parameters")
    parameters = count_parameters(skeleton, settings.training)
    progress("operations of the model")
    operations = count_operations(skeleton, settings.training)
    progress("operations of the rewards")
    rewards = {term.name: reward_cost(term) for term in settings.reward.terms}
    progress("memory")
    return Counts(
        image_size=skeleton.image_size,
        latent=math.prod(skeleton.latents),
        text_tokens=skeleton.conditioning.length,
        conditioning=skeleton.conditioning.nbytes,
        parts=list(configs.parts),
        parameters=parameters,
        operations=operations,
        memory=stage_memory(settings, skeleton, work, rewards),
        rewards=rewards,
    )
