"""A shard of rollouts, and its scores in the same task: images are scored while further ones are made.

In place of a rollout task and a reward task: one start and one loading fewer for each shard, and half of the tasks that
a cluster keeps of a round. What it writes is what the two write.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from queue import Full, Queue

from advantageflow.records import Prompt
from advantageflow.rewards.plumbing.terms import term_rewards
from advantageflow.rollout import stage as rollout
from advantageflow.rollout.selection import images_of_shard
from advantageflow.rollout.stage import Groups
from advantageflow.scoring.stage import Sample, Scored, score_rollouts, write_scored
from advantageflow.settings import ModelSettings, RewardSettings, RolloutSettings
from advantageflow.store.prompts import read_prompts

_AHEAD = 8  # chunks that may wait to be scored


def run(
    settings: RolloutSettings,
    model: ModelSettings,
    reward: RewardSettings,
    seed: int,
    round_index: int,
    shard: int,
    *,
    prompts: Path,
    conditioning: Path,
    rollout_policy: Path,
    rollouts_out: Path,
    latents_out: Path,
    scores_out: Path,
) -> None:
    """Generate a shard's images as the rollout stage does, and score them as the reward stage does.
    Raises UserError as both stages raise.

    Args beside those of `rollout.stage.run`:
        reward: which rewards.
        scores_out: folder of the scores artifact to write.
    """
    rewards = term_rewards(reward)
    by_id = {prompt.prompt_id: prompt for prompt in read_prompts(prompts)}
    made: Queue[Groups | None] = Queue(_AHEAD)
    with ThreadPoolExecutor(1, thread_name_prefix="reward") as beside:
        images = images_of_shard(settings, shard)
        told_here = copy_context().run  # the journal, which another thread does not have
        scored: Future[Scored] = beside.submit(
            told_here, lambda: score_rollouts(reward, rewards, _samples(made, by_id), images)
        )

        def give(groups: Groups | None) -> None:
            while not scored.done():
                with suppress(Full):
                    made.put(groups, timeout=1)
                    return
            scored.result()  # it failed, and nobody takes any more

        try:
            rollout.run(
                settings, model, seed, round_index, shard, prompts=prompts, conditioning=conditioning,
                rollout_policy=rollout_policy, rollouts_out=rollouts_out, latents_out=latents_out, images_to=give,
            )  # fmt: skip
        finally:
            give(None)
    write_scored(reward, rewards, scored.result(), by_id, rollouts_out, scores_out)


def _samples(made: Queue[Groups | None], by_id: dict[str, Prompt]) -> Iterator[Sample]:
    while (groups := made.get()) is not None:
        for one, image in zip(groups.rollouts, groups.images, strict=True):
            yield by_id[one.prompt_id], one, image
