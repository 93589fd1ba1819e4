"""The method from top to bottom: rounds of rollout, reward and training, with everything kept loaded. Read this first.

A round draws a group of images x_0 for each of its prompts with the rollout policy, scores them, and turns the scores
of each group into advantages A in [-1, 1]. Training then fits the policy's velocity to them: at points
x_t = (1 - t) x_0 + t eps with fresh t and eps, whose velocity is v = eps - x_0, each sample contributes

    w ( A |v_theta - v|^2 + lam |v_theta - v_roll|^2 )

which pulls v_theta towards images better than their group and away from worse ones, and holds it to the policy that
drew them (arXiv 2605.26013). The rollout policy follows, and the next round begins.

These are the functions of the stages `rollout`, `scoring` and `training`, which do the same from file to file in
containers of their own: equal settings and seed give equal policies, on the CPU bit for bit.
"""

from functools import partial
from hashlib import sha256
from pathlib import Path

import torch

from advantageflow.errors import SettingsError
from advantageflow.loop.checkpoints import loop_checkpoints
from advantageflow.loop.share import Share, join_shares
from advantageflow.policy.fingerprint import weights_sha256
from advantageflow.policy.generate import Generator
from advantageflow.policy.loading import load_vae
from advantageflow.policy.sampling import noise_levels
from advantageflow.records import PROMPTS_FILE, ROLLOUT_ADAPTER_FOLDER
from advantageflow.rewards.plumbing.checks import tell_dropped
from advantageflow.rewards.plumbing.terms import term_rewards
from advantageflow.rollout.selection import chunks, noisy_window, shard_of
from advantageflow.rollout.stage import generate_chunks, no_groups, round_prompts
from advantageflow.scoring.stage import score_rollouts, score_summary
from advantageflow.settings import ModelSettings, RewardSettings, RolloutSettings, StoreSettings, TrainingSettings
from advantageflow.store.conditioning import open_conditioning
from advantageflow.store.policies import read_policy_state
from advantageflow.store.prompt_history import read_history
from advantageflow.store.prompts import read_prompts
from advantageflow.tracking.journal import current_journal
from advantageflow.training.checkpoint_key import checkpoint_key
from advantageflow.training.group import ALONE, Group
from advantageflow.training.launch import train_in_processes
from advantageflow.training.metrics import updated_history
from advantageflow.training.reward_weights import weigh_rewards
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.stage import check_store, hand_over
from advantageflow.training.train import (
    load_policy,
    make_repeatable,
    save_policy,
    step_recorder,
    tell_round,
    trained_for,
)


def run_rounds(
    settings: TrainingSettings,
    rollout: RolloutSettings,
    reward: RewardSettings,
    model: ModelSettings,
    store: StoreSettings,
    seed: int,
    round_index: int,
    *,
    prompts: Path,
    conditioning: Path,
    policy: Path,
    policy_out: Path,
    group: Group = ALONE,
) -> None:
    """Run the rounds from the policy's next one to `round_index`, as one of a group of processes.

    Each process generates and scores its share of the prompts, and trains on its share of every gradient step.

    Args beside those of `run`:
        group: the processes, which end with the same policy; the first one writes it.
    """
    journal, device = current_journal(), torch.device(model.device)
    workers = rollout.shards if model.device == "cpu" else 1
    make_repeatable(settings.threads)

    # What stays loaded: the frozen base with its two adapters, the optimiser, the decoder, the rewards.
    known = read_prompts(prompts)
    prompt_of = {prompt.prompt_id: prompt for prompt in known}
    stored = open_conditioning(conditioning, known)
    rewards = term_rewards(reward)
    trained = load_policy(settings, model, seed, policy)
    inputs = {
        "rollout": rollout.model_dump(mode="json"),
        "prompts": sha256((prompts / PROMPTS_FILE).read_bytes()).hexdigest(),
    }
    key = partial(checkpoint_key, settings, reward, model, seed=seed, round_index=round_index, policy=policy,
                  further=inputs)  # fmt: skip
    with loop_checkpoints(settings, store, key, group) as checkpoints:
        kept = checkpoints.resume()
        if kept is not None:
            policy, trained = kept, load_policy(settings, model, seed, kept)
        state, history = read_policy_state(policy), read_history(policy)
        generator = Generator(model, trained.transformer, load_vae(model))
        base_sha256 = weights_sha256(trained.transformer)
        levels = noise_levels(model, rollout)[:-1].tolist()
        checkpoints.keeps(lambda folder: save_policy(trained, state, history, folder, settings.released))
        journal.useful()

        for number in range(state.round + 1, round_index + 1):
            with checkpoints.nothing_changes():
                # Rollout: a group of images for each prompt of the round, from noise, by the rollout policy.
                told_in = number if group.first else None
                chosen = round_prompts(rollout, seed, state.rounds_before + number, known, history, told_in)
                mine = shard_of(chunks(chosen, rollout.batch_groups), group.rank, group.size)
                window = noisy_window(rollout, seed, state.rounds_before + number)
                groups = no_groups(rollout, model, window)
                if mine:
                    with trained.adapters.generating(ROLLOUT_ADAPTER_FOLDER):
                        groups = generate_chunks(
                            generator, rollout, mine, known, stored,
                            seed=seed, round_index=number, rounds_before=state.rounds_before, workers=workers,
                            window=window,
                        )  # fmt: skip
                torch.set_num_threads(settings.threads)

                # Reward: what each image is worth, and how it looks.
                asked = [prompt_of[one.prompt_id] for one in groups.rollouts]
                samples = zip(asked, groups.rollouts, groups.images, strict=True)
                scores, pictures, dropped = score_rollouts(reward, rewards, samples, len(asked))
                tell_dropped(reward, list(dropped.values()), len(asked), journal, number)
                share = Share(groups.rollouts, groups.latents, groups.trajectories, scores, pictures.summary())
                shares = group.gather(share)
                data = join_shares(shares, known, stored, reward, rewards, levels)

            # Advantages: how far each image is above or below its group.
            chained = state.rounds_before + number
            data, weights = weigh_rewards(trained, data.to(device), settings, seed, chained, group)
            advantages = round_advantages(data, settings)
            history = updated_history(history, data, advantages)

            # Training: gradient steps on the loss, then the rollout policy moves towards the trained one.
            trained.set_learning_rate(settings.learning_rate_in(number))
            steps = train_round(
                trained, data, advantages, settings, seed=seed, round_index=number, group=group,
                progress=lambda done, total: journal.progress(done, total, "samples"),
                step_done=step_recorder(state.step), steps_before=state.step, rounds_before=state.rounds_before,
            )  # fmt: skip
            if group.size > 1:
                group.check_equal(trained.adapters.sha256(), f"the policy after round {number}")

            scored = {score.rollout_id: score.rewards for one in shares for score in one.scores}
            rollouts = {one.rollout_id: prompt_of[one.prompt_id] for share in shares for one in share.rollouts}
            journal.metrics(score_summary(list(scored.values()), [rollouts[name] for name in scored]), step=number)
            images = [one.pictures for one in shares]
            tell_round(steps, data, advantages, images, settings, number, checkpoints.metrics() | weights)
            state = trained_for(state, len(steps), number, base_sha256, settings, reward, model)
            checkpoints.after_round(len(steps), last=number == round_index)

        if group.first:
            save_policy(trained, state, history, policy_out, settings.released)
            checkpoints.remove()


def run(
    settings: TrainingSettings,
    rollout: RolloutSettings,
    reward: RewardSettings,
    model: ModelSettings,
    store: StoreSettings,
    seed: int,
    round_index: int,
    *,
    prompts: Path,
    conditioning: Path,
    policy: Path,
    policy_out: Path,
    adapter_out: Path | None = None,
) -> None:
    """Run rounds here, in as many processes as the settings say, and publish the policy where there is a store.

    Args:
        settings: of training; a checkpoint is kept after the round that completes `checkpoint_every` gradient steps.
        rollout: of rollouts; on the CPU its `shards` are threads that generate side by side.
        reward: what rollouts are scored by.
        model: the base model.
        store: where checkpoints go and the policy is published.
        seed: the run's.
        round_index: the last round to run.
        prompts: the prompts artifact.
        conditioning: of these prompts.
        policy: to go on from.
        policy_out: folder of the policy artifact to write.
        adapter_out: folder for what evaluations read of it, as an artifact of its own.

    Raises:
        SettingsError: the settings ask for several nodes, or need a store, and there is none.
        DataError: an artifact is not as expected, or there are too few prompts.
        PolicyError: the model or the policy cannot be loaded, or the policy has diverged.
        RewardError: a reward failed on an image; names it.
        TrainingError: training diverged, and nothing is written; or one of several processes was killed.
        StoreError: an artifact or a checkpoint cannot be read or written.
        Preempted: the task was asked to end, and has kept a checkpoint.
    """
    arguments = {name: value for name, value in locals().items() if name != "adapter_out"}
    if settings.nodes > 1:
        remedy = "set it to 1, or use the online pipeline, whose training runs on several"
        raise SettingsError("the loop runs on one node", where="training.nodes", remedy=remedy)
    check_store(settings, store)
    if settings.processes > 1:
        train_in_processes(settings, model, arguments, f"{__name__}:run_rounds")
    else:
        run_rounds(**arguments)
    hand_over(policy_out, store, adapter_out, None)
