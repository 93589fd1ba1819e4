"""A round of training, from artifacts to artifacts, as each process of a group goes through it."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from advantageflow.errors import SettingsError
from advantageflow.flow.advantages import Advantages
from advantageflow.objectives.batches import Metrics
from advantageflow.policy.adapters import attach_adapters
from advantageflow.policy.fingerprint import weights_sha256
from advantageflow.policy.loading import load_family, load_transformer
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER
from advantageflow.settings import ModelSettings, RewardSettings, StoreSettings, TrainingSettings
from advantageflow.store.files import publish, read_metadata
from advantageflow.store.policies import PolicyState, read_policy_state
from advantageflow.store.prompt_history import PromptHistory, read_history, write_history
from advantageflow.store.rollouts import IMAGE_STATISTICS_KEY
from advantageflow.tracking.journal import current_journal
from advantageflow.training.checkpoint_key import checkpoint_key
from advantageflow.training.checkpoints import round_checkpoints
from advantageflow.training.data import RoundData
from advantageflow.training.group import ALONE, Group
from advantageflow.training.metrics import data_metrics, image_metrics, round_metrics, updated_history
from advantageflow.training.policy import OPTIMISER_FILE, Policy, make_optimiser, restore_optimiser, save_optimiser
from advantageflow.training.reward_weights import weigh_rewards
from advantageflow.training.round import round_advantages, train_round
from advantageflow.training.shards import load_round

logger = logging.getLogger(__name__)


def train(
    settings: TrainingSettings,
    reward: RewardSettings,
    model: ModelSettings,
    seed: int,
    round_index: int,
    *,
    prompts: Path,
    conditioning: Path,
    policy: Path,
    latents: list[Path],
    scores: list[Path],
    policy_out: Path,
    store: StoreSettings,
    group: Group = ALONE,
) -> None:
    """Train as one of a group of processes, move the rollout policy, and let the first process write what came of it.

    Arguments and errors are those of the stage's `run`.
    """
    journal = current_journal()
    make_repeatable(settings.threads)
    state = read_policy_state(policy)
    data = load_round(
        prompts, conditioning, latents, scores,
        reward=reward, round_index=round_index, policy_sha256=state.policy_sha256,
        trajectories=settings.objective.needs.trajectories,
    )  # fmt: skip
    trained = load_policy(settings, model, seed, policy)
    trained.set_learning_rate(settings.learning_rate_in(round_index))
    key = partial(checkpoint_key, settings, reward, model, seed=seed, round_index=round_index, policy=policy, data=data)
    number, data = state.rounds_before + round_index, data.to(torch.device(model.device))
    data, weights = weigh_rewards(trained, data, settings, seed, number, group)
    advantages = round_advantages(data, settings)
    outcomes = updated_history(read_history(policy), data, advantages)
    with round_checkpoints(settings, store, key, group) as checkpoints:
        journal.useful()
        steps = train_round(
            trained, data, advantages, settings, seed=seed, round_index=round_index,
            progress=lambda done, total: journal.progress(done, total, "samples"), step_done=step_recorder(state.step),
            steps_before=state.step, rounds_before=state.rounds_before, group=group, checkpoints=checkpoints,
        )  # fmt: skip
        update = trained_for(
            state, len(steps), round_index, weights_sha256(trained.transformer), settings, reward, model
        )
        group.check_equal(trained.adapters.sha256(), "the trained policy")
        if not group.first:
            return
        save_policy(trained, update, outcomes, policy_out, settings.released)
        checkpoints.remove()

    images = [read_metadata(shard).get(IMAGE_STATISTICS_KEY, {}) for shard in scores]
    tell_round(steps, data, advantages, images, settings, round_index, checkpoints.metrics() | weights)


def step_recorder(before: int) -> Callable[[int, Metrics], None]:
    """What tells the journal of each gradient step when it is done; `before` is how many the policy had."""

    def record(number: int, values: Metrics) -> None:
        told = {f"training/{name}": value for name, value in values.items()}
        current_journal().metrics(told, step=before + number)

    return record


def trained_for(
    state: PolicyState,
    steps: int,
    round_index: int,
    base_sha256: str,
    settings: TrainingSettings,
    reward: RewardSettings,
    model: ModelSettings,
) -> PolicyState:
    """The state of a policy after a round of so many steps, from the one before it."""
    sections = {"training": settings, "reward": reward, "model": model}
    update = {
        "round": round_index,
        "step": state.step + steps,
        "base_sha256": base_sha256,
        "settings": {**state.settings, **{k: v.model_dump(mode="json") for k, v in sections.items()}},
    }
    return state.model_copy(update=update)


def tell_round(
    steps: Sequence[Metrics],
    data: RoundData,
    advantages: Advantages,
    images: Sequence[Mapping[str, Any]],
    settings: TrainingSettings,
    round_index: int,
    further: Metrics,
) -> None:
    """Tell the journal how a round of training went; `images` sum up what its rollouts look like, by shard."""
    told = data_metrics(data, advantages) | image_metrics(images) | round_metrics(steps)
    told["training/learning_rate"] = settings.learning_rate_in(round_index)
    current_journal().metrics(told | further, step=round_index, parent=True)


def load_policy(settings: TrainingSettings, model: ModelSettings, seed: int, folder: Path) -> Policy:
    """The model with the policy's adapters, fresh ones where it has none, and its optimiser as it was left.

    Raises:
        SettingsError: a model of average velocities is not to be in float32.
        PolicyError: the model or the policy cannot be loaded, or do not fit each other.
    """
    family = load_family(model)
    if family.averages and model.dtype != "float32":  # a difference of velocities, times 100: see mean_flow_correction
        message = f"average velocities are trained by their small differences, which {model.dtype} does not have"
        raise SettingsError(message, where="model.dtype", remedy="set it to float32")
    transformer = load_transformer(model)
    if settings.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    adapters = attach_adapters(transformer, folder, settings.lora, seed, family, model)
    optimiser = make_optimiser(adapters.parameters(), settings)
    if settings.sampled == "trained" and settings.rollout_decay:
        adapters.average = {name: value.detach().clone() for name, value in adapters.named_parameters().items()}
    saved = folder / OPTIMISER_FILE
    if saved.exists():
        restore_optimiser(optimiser, adapters.named_parameters(), saved)
    elif read_policy_state(folder).trained:
        logger.info("%s: no optimiser state, starting a fresh one", folder)
    return Policy(transformer, adapters, optimiser, family, settings.microbatch if model.compiled else 0)


def save_policy(
    policy: Policy,
    state: PolicyState,
    outcomes: PromptHistory,
    folder: Path,
    released: Literal["average", "trained"] = "trained",
) -> None:
    """Publish a policy artifact; the trained weights are kept with the optimiser where the average is released."""
    with publish(folder) as unfinished:
        average = released == "average" and bool(policy.adapters.average or not policy.is_rollout_policy())
        policy.adapters.save(unfinished, state, state.model, ROLLOUT_ADAPTER_FOLDER if average else ADAPTER_FOLDER)
        parameters = policy.adapters.named_parameters()
        save_optimiser(policy.optimiser, parameters, unfinished / OPTIMISER_FILE, with_weights=average)
        write_history(unfinished, outcomes)


def make_repeatable(threads: int) -> None:
    """Equal inputs, equal bits: on the CPU sums depend on the number of threads, on a GPU on the choice of kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is free to vary
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # A debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
