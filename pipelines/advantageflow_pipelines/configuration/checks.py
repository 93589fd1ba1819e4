"""A new run on this machine: what can be known to be wrong is found in a second, and not after minutes."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from advantageflow.errors import SettingsError, StoreError
from advantageflow.golden_checks.pictures import check_golden_file
from advantageflow.policy.loading import check_device
from advantageflow.policy.location import INDEX, model_location, read_file
from advantageflow.prompts.sources import load_prompts, select_held_out
from advantageflow.records import Prompt
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.terms import term_rewards, watched_rewards
from advantageflow.rollout.selection import prompts_by_task
from advantageflow.settings import ModelSettings, RunSettings
from advantageflow.store.published import is_published, join
from advantageflow.store.s3 import is_s3
from advantageflow_pipelines.configuration.choices import with_absolute_paths
from advantageflow_pipelines.local.policies import with_initial_policy
from advantageflow_pipelines.local.runners import Runner, RunnerKind, check_images, choose_runner, write_runner
from advantageflow_pipelines.local.tracking import store_uri
from advantageflow_pipelines.local.workdir import DEFAULT_RUNS, WorkDir, create_workdir
from advantageflow_pipelines.pipelines import pipeline_of

_BYTES_PER_ROLLOUT = {"shapes": 12_000}  # image and latents
_BYTES_PER_LARGE_ROLLOUT = 2_000_000
_BYTES_PER_POLICY = {"shapes": 12_000_000}  # two adapters, each twice, and the optimiser
_BYTES_PER_LARGE_POLICY = 700_000_000
_ROOM_TO_SPARE = 100_000_000


def begin_run(
    settings: RunSettings,
    runner: RunnerKind | None,
    runs: Path,
    workdir: Path | None = None,
    *,
    lora_asked: bool,
    images: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda words: None,
) -> WorkDir:
    """Check a new run and all that it reads, and make its working folder; tells what policy it starts from.

    Where no runner is asked for one is chosen.

    Raises:
        UserError: something cannot be used; names it and the remedy. Nothing was written.
        NothingToDo: a retraining has nothing new to train on; says why.
    """
    settings = with_absolute_paths(settings)
    runner = choose_runner(settings, runner)
    settings = pipeline_of(settings).begin(settings, store_uri(runs))
    settings = check_run(settings, runs, lora_asked=lora_asked, tell=tell)
    known = check_images(images or {}, settings) if runner is RunnerKind.DOCKER else {}
    check_disk(settings, workdir or runs)
    place = create_workdir(workdir, settings, runs)
    write_runner(place, Runner(runner, known))
    return place


def check_run(
    settings: RunSettings,
    runs: Path = DEFAULT_RUNS,
    *,
    lora_asked: bool = True,
    tell: Callable[[str], None] = lambda words: None,
) -> RunSettings:
    """Check what a run reads: rewards, prompts and their specs, the policy it starts from, the model, the device,
    the store. Gives its settings, which train the adapter of that policy; see `with_initial_policy`.
    Raises UserError: something cannot be used; names it and the remedy.
    """
    rewards = term_rewards(settings.reward)
    rewards |= watched_rewards(settings.reward, rewards)
    if settings.reward.golden is not None:
        check_golden_file(Path(settings.reward.golden), rewards)
    check_prompts(settings, *rewards.values())
    if settings.init_policy is not None:
        settings, words = with_initial_policy(settings, runs, lora_asked=lora_asked)
        tell(words)
    _check_model(settings.model)
    if settings.store.url is not None:
        is_published(join(settings.store.url, "policies"))  # asks; finds wrong credentials and addresses
    return settings


def check_prompts(settings: RunSettings, *rewards: Reward) -> None:
    """Check that there are prompts enough, and that rewards can read them.
    Raises UserError: there are not, or they cannot be used.
    """
    source = settings.prompts
    prompts = load_prompts(
        source.source, *rewards, count=source.count, seed=source.seed, columns=source.columns.renamed,
        warn=lambda message: None,  # the prompts stage, which is the first, tells it
    )  # fmt: skip
    train = [prompt for prompt in prompts if prompt.split == "train"]
    prompts_by_task(train, settings.rollout.prompts_per_round)
    _check_samples(settings, prompts)


def check_disk(settings: RunSettings, folder: Path) -> None:
    """Check that the disk of a working folder has room for what the run will write.
    Raises StoreError: it has not, or the folder cannot be reached.
    """
    try:
        while not folder.exists():
            folder = folder.parent
        free, needed = shutil.disk_usage(folder).free, disk_needed(settings)
    except OSError as error:
        message = f"the working folder cannot be made: {error.strerror}"
        raise StoreError(message, where=str(folder), remedy="choose another folder with --workdir") from error
    if free < needed:
        message = f"the disk has {free / 1e6:,.0f} MB free, the run needs about {needed / 1e6:,.0f} MB"
        remedy = "free some space, choose another disk with --workdir, or run fewer rounds"
        raise StoreError(message, where=str(folder), remedy=remedy)


def disk_needed(settings: RunSettings) -> int:
    """A generous estimate of the bytes that a run writes."""
    rollouts = settings.rounds * settings.rollout.prompts_per_round * settings.rollout.group_size
    model = settings.model.name
    per_round = settings.rounds * _BYTES_PER_POLICY.get(model, _BYTES_PER_LARGE_POLICY)
    return rollouts * _BYTES_PER_ROLLOUT.get(model, _BYTES_PER_LARGE_ROLLOUT) + per_round + _ROOM_TO_SPARE


def _check_samples(settings: RunSettings, prompts: Sequence[Prompt]) -> None:
    """A number of pictures that was asked for can be tracked; the default is as many as there are."""
    wanted = settings.evaluation.sample_prompts
    if "sample_prompts" not in settings.evaluation.model_fields_set:
        return
    held_out = sum(prompt.split == "eval" for prompt in select_held_out(prompts, settings.prompts.eval_prompts))
    if wanted > held_out:
        message = f"pictures of {wanted} held-out prompts are to be tracked; {settings.prompts.source} has {held_out}"
        remedy = f"set it to {held_out} or less, or hold out more prompts"
        raise SettingsError(message, where="evaluation.sample_prompts", remedy=remedy)


def _check_model(model: ModelSettings) -> None:
    model_location(model)
    if is_s3(model.name):
        read_file(model, INDEX)  # small; finds wrong credentials and addresses
    if model.device == "cuda":
        check_device(model)  # imports torch, so only where there is something to find out
