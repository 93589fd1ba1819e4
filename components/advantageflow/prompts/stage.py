"""The prompts stage: from a source of prompts to the prompts artifact and the initial policy."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from advantageflow.annotations import Conditioning
from advantageflow.golden_checks.check import check_rewards
from advantageflow.policy.loading import load_family
from advantageflow.prompts.initial_policy import write_base_policy, write_start
from advantageflow.prompts.sources import load_prompts, select_held_out, with_replay
from advantageflow.records import PROMPTS_FILE, Prompt
from advantageflow.rewards.base import planned_version
from advantageflow.rewards.plumbing.terms import term_rewards, watched_rewards
from advantageflow.settings import ModelSettings, PromptSettings, RewardSettings, StoreSettings
from advantageflow.store.conditioning import write_conditioning
from advantageflow.store.policies import copy_parts
from advantageflow.store.prompts import read_known, source_sha256, write_prompts
from advantageflow.tracking.journal import current_journal
from advantageflow.tracking.registry import local_policy

NO_STORE = StoreSettings()

logger = logging.getLogger(__name__)


def run(
    settings: PromptSettings,
    model: ModelSettings,
    reward: RewardSettings,
    seed: int,
    *,
    init_policy: str | None,
    prompts_out: Path,
    conditioning_out: Path,
    policy_out: Path,
    adapter_out: Path | None = None,
    rollout_policy_out: Path | None = None,
    store: StoreSettings = NO_STORE,
) -> None:
    """Check the prompts and the rewards, encode each text once, and make the policy that the run starts from.

    Args:
        model: whose text encoders encode them.
        reward: what must be able to read their specs, and must score golden pictures as it should.
        seed: the run's seed, kept as provenance.
        init_policy: what to start from: an earlier run's policy or another program's adapter, in a folder, published
            at s3:// or registered in MLflow; None starts from the base model.
        adapter_out, rollout_policy_out: folders for what evaluations and rollouts read of the policy.
        store: where what conditions the model is kept, if there is one.

    Raises:
        DataError: a prompt cannot be used.
        SettingsError: a term's reward is unknown, or has no such column.
        RewardError: a reward does not score the golden pictures as it should; names both.
        PolicyError: the model or the initial policy cannot be loaded.
        StoreError: an output cannot be written; the initial policy cannot be fetched.
        TrackingError: MLflow's registry cannot be read.
    """
    journal = current_journal()
    scorers = term_rewards(reward)
    readers = scorers | watched_rewards(reward, scorers)
    known = load_prompts(
        settings.source, *readers.values(),
        count=settings.count, seed=settings.seed, columns=settings.columns.renamed, warn=journal.warning,
    )  # fmt: skip
    start = None if init_policy is None else local_policy(init_policy)
    known_before = frozenset[str]() if start is None else read_known(start)
    chosen = with_replay(known, known_before, settings.replay_share, seed, fills=settings.replay_fills or 0)
    prompts = select_held_out(chosen, settings.eval_prompts)
    counts: Counter[str] = Counter(prompt.split for prompt in prompts)
    if counts["eval"] < settings.eval_prompts:
        logger.info("%d prompts are held out, fewer than the %d wanted", counts["eval"], settings.eval_prompts)
    if unjudged := sorted(_held_out_tasks(chosen) - _held_out_tasks(prompts)):
        of = f"{len(unjudged)} of {len(_held_out_tasks(chosen))} tasks ({', '.join(unjudged):.100})"
        journal.warning(f"{of} are not judged, as prompts.eval_prompts is {settings.eval_prompts}")
    journal.metrics(check_rewards(reward, readers, prompts))
    versions = {name: planned_version(scorer) for name, scorer in scorers.items()}
    del scorers, readers  # what a learned reward takes of the GPU, the text encoders may need

    write_conditioning(conditioning_out, prompts, encode(model, prompts), {"model": model.name}, store.url)
    told: dict[str, Any] = {"warnings": journal.warnings} if journal.warnings else {}
    told |= {"source": settings.source, "source_sha256": source_sha256(known), "reward_versions": versions, **counts}
    ids = {prompt.prompt_id for prompt in known if prompt.split == "train"}
    write_prompts(prompts_out, prompts, told, known_before | ids)
    journal.dataset(prompts_out / PROMPTS_FILE)
    journal.metrics({f"prompts/{split}": count for split, count in counts.items()})

    provenance = {"model": model.name, "revision": model.revision, "seed": seed, "reward_versions": versions}
    named = {"prompts": settings, "model": model, "reward": reward}
    sections = {name: section.model_dump(mode="json") for name, section in named.items()}
    if init_policy is None or start is None:
        write_base_policy(policy_out, sections, provenance)
    else:
        write_start(init_policy, start, model, policy_out, sections, provenance)
    copy_parts(policy_out, adapter_out, rollout_policy_out)


def _held_out_tasks(prompts: Sequence[Prompt]) -> set[str]:
    return {prompt.task for prompt in prompts if prompt.split == "eval"}


def encode(model: ModelSettings, prompts: Sequence[Prompt]) -> Callable[[Sequence[int]], Conditioning]:
    """Encode each distinct text once, and the one that guidance leads away from; gives what gives the conditioning of
    the prompts with these numbers, of which len(prompts) is that of guidance.
    """
    from advantageflow.policy.text import encode_texts, import_encoders

    journal, family = current_journal(), load_family(model)
    import_encoders(model, family)
    every = [*(prompt.text for prompt in prompts), family.unconditional]
    texts = list(dict.fromkeys([family.unconditional, *every]))
    journal.useful()
    encoded = encode_texts(model, texts, lambda done, total: journal.progress(done, total, "encodings"))
    number = {text: row for row, text in enumerate(texts)}
    return lambda rows: encoded.rows([number[every[row]] for row in rows])
