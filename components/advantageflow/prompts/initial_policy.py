"""The policy that a run starts from: the base model as it is, a copy of an earlier run's policy, or an adapter."""

import logging
import shutil
from pathlib import Path
from typing import Any

from advantageflow.annotations import Foreign
from advantageflow.policy.loading import load_transformer
from advantageflow.records import ADAPTER_FOLDER, KNOWN_PROMPTS_FILE, REGISTERED_FILE, STATE_FILE
from advantageflow.settings import LoraSettings, ModelSettings
from advantageflow.store.files import publish, read_json
from advantageflow.store.policies import PolicyState
from advantageflow.store.s3 import is_s3

logger = logging.getLogger(__name__)


def write_base_policy(
    folder: Path, settings: dict[str, Any] | None = None, provenance: dict[str, Any] | None = None
) -> None:
    """Publish the policy that is the base model: round 0, no adapter."""
    state = PolicyState(round=0, step=0, policy_sha256=None, settings=settings or {}, provenance=provenance or {})
    with publish(folder) as partial:
        state.write(partial)


def write_start(
    name: str, path: Path, model: ModelSettings, folder: Path, settings: dict[str, Any], provenance: dict[str, Any]
) -> None:
    """Publish what a run starts from as its round 0: a copy of a policy, or the policy of another program's adapter.

    `name` is what a person called it, `path` where it is on this machine; base model, settings (the sections by name)
    and provenance are this run's. Raises PolicyError as find_initial and copy_policy.
    """
    _, words, adapter = find_initial(path, model)
    logger.info("starts from %s: %s", name, words)
    if adapter is not None:
        write_foreign(adapter, model, folder, settings, provenance, name)
        return
    artifact = artifact_of(path) or path
    registered = artifact / REGISTERED_FILE  # which tells the version, where an alias may have moved
    origin = str(read_json(registered)["address"]) if registered.is_file() else name if is_s3(name) else None
    copy_policy(artifact, folder, provenance, origin)


def copy_policy(source: Path, folder: Path, provenance: dict[str, Any], origin: str | None = None) -> None:
    """Publish a copy of an earlier policy, optimiser included, as round 0 of this run.

    `origin` is the address that `source` was fetched from, if it was. Raises PolicyError: the source is not a policy,
    is incomplete or corrupt, or holds weights that are not finite or not those of their hash.
    """
    from advantageflow.policy.saved import check_all_files

    state = check_all_files(source).state
    earlier = {
        "round": state.round, "step": state.step, "policy_sha256": state.policy_sha256,
        "path": origin or str(source.absolute()),
    }  # fmt: skip
    with publish(folder) as partial:
        left_out = shutil.ignore_patterns(KNOWN_PROMPTS_FILE, REGISTERED_FILE)
        shutil.copytree(source, partial, copy_function=shutil.copyfile, dirs_exist_ok=True, ignore=left_out)
        now = {"round": 0, "rounds_before": state.rounds, "provenance": {**provenance, "continued_from": earlier}}
        state.model_copy(update=now).write(partial)


def write_foreign(
    adapter: Foreign,
    model: ModelSettings,
    folder: Path,
    settings: dict[str, Any],
    provenance: dict[str, Any],
    origin: str,
) -> None:
    """Publish an adapter that another program made as round 0 of this run, trained and rollout policy alike.

    Args as in write_start, but for the adapter that was read, and `origin`: what a person called it.
    """
    from advantageflow.policy.saved import ADAPTERS, tensors_sha256, write_diffusers, write_peft

    sha256 = tensors_sha256(adapter.tensors)
    taken = {"path": origin, "layout": adapter.layout, "file": adapter.file.name, "base": adapter.base}
    with publish(folder) as partial:
        for name in ADAPTERS:
            write_peft(partial / name, adapter.tensors, adapter.lora, model)
        write_diffusers(partial / ADAPTER_FOLDER, adapter.tensors, adapter.lora)
        PolicyState(
            round=0, step=0, lora=adapter.lora, policy_sha256=sha256, rollout_policy_sha256=sha256, settings=settings,
            provenance={**provenance, "adapter_from": taken},
        ).write(partial)  # fmt: skip


def artifact_of(path: Path) -> Path | None:
    """The policy artifact that a folder is, or whose adapter it is; None if it is neither."""
    for folder in (path, path.parent) if path.name == ADAPTER_FOLDER else (path,):
        if (folder / STATE_FILE).is_file():
            return folder
    return None


def find_initial(path: Path, model: ModelSettings) -> tuple[LoraSettings | None, str, Foreign | None]:
    """What a run would start from, every file of it read and checked.

    `path` is a policy artifact, or an adapter that another program made: its folder or file. Gives the shape of its
    adapter, what it is in words, and the adapter where it is not a policy artifact. Raises PolicyError: it is neither,
    cannot be used, or was trained on another base model.
    """
    from advantageflow.policy.foreign import find_adapter, read_foreign
    from advantageflow.policy.saved import check_all_files

    artifact = artifact_of(path)
    file = None if artifact is not None else find_adapter(path)
    if file is None:
        saved = check_all_files(artifact or path)
        state, lora = saved.state, saved.state.lora
        if state.model is not None and (state.model.name, state.model.revision) != (model.name, model.revision):
            saved.check_base(load_transformer(model.model_copy(update={"device": "cpu"})), model)
        shape = lora and f"rank {lora.rank}, alpha {lora.alpha}, {', '.join(lora.targets or ())}"
        return lora, f"policy of {state.rounds} rounds: {shape or 'the base model'}", None
    adapter = read_foreign(file, model)
    return adapter.lora, str(adapter), adapter
