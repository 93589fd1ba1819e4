"""Prompts of a source that grows: those that a policy does not know yet, mixed with a share of those it does."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from advantageflow.records import Prompt, derive_seed

logger = logging.getLogger(__name__)


def with_replay(
    prompts: Sequence[Prompt], known: Collection[str], replay_share: float | None, seed: int
) -> list[Prompt]:
    """All held-out prompts, all new training prompts, and as many old ones that they are this share of both.

    Args:
        prompts: of the source.
        known: ids of the training prompts that are not new.
        replay_share: share of the training prompts that are not new, in [0, 1); None takes all prompts.
        seed: by which old ones are drawn, with the number of all prompts, so that no old one is left out for ever.

    Returns:
        Prompts in the order of the source. Where none is new or none is old, all of them.
    """
    train = [prompt for prompt in prompts if prompt.split == "train"]
    old = [prompt for prompt in train if prompt.prompt_id in known]
    new = len(train) - len(old)
    if replay_share is None or not new or not old:
        return list(prompts)
    ranked = sorted(old, key=lambda prompt: derive_seed(seed, "replay", len(prompts), prompt.prompt_id))
    count = min(len(old), round(new * replay_share / (1 - replay_share)))
    left_out = {prompt.prompt_id for prompt in ranked[count:]}
    logger.info("%d training prompts are new, and %d of %d old ones are replayed", new, count, len(old))
    return [prompt for prompt in prompts if prompt.split == "eval" or prompt.prompt_id not in left_out]
