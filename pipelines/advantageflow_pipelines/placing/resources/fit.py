"""A run's settings and its resources, made to fit each other, or refused in one message."""

from collections.abc import Iterator
from dataclasses import replace

from advantageflow.problems import Problem, to_error
from advantageflow.settings import RunSettings
from advantageflow.store.s3 import is_s3
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import Stage
from advantageflow_pipelines.placing.resources.files import load_resources
from advantageflow_pipelines.placing.resources.stage_resources import Resources


def default_resources(settings: RunSettings) -> str:
    """The preset of a run whose resources nobody chose."""
    return "single-gpu" if settings.model.device == "cuda" else "cpu"


def fit(settings: RunSettings, resources: Resources) -> tuple[RunSettings, Resources]:
    """Make settings and resources agree.
    Raises SettingsError: they do not fit; names all that is wrong.

    How many processes and nodes train is said once, by the resources: training.processes is the GPUs of a node, and
    training.nodes the nodes. Where the settings say otherwise themselves, that is an error, not a choice. (On CPUs,
    which no resources count, the settings' own number of processes holds.)

    Returns:
        Settings with training.processes and training.nodes, and resources with a number of GPUs for every stage.
    """
    stages = dict(resources.stages)
    for stage in pipeline_of(settings).stages:
        if stages[stage.name].gpus == "auto":
            gpus = 1 if _reason_for_gpu(settings, stage) else 0
            stages[stage.name] = stages[stage.name].model_copy(update={"gpus": gpus})
    resources = replace(resources, stages=stages)
    problems = [
        *_wrong_gpus(settings, resources),
        *_wrong_training(settings, resources),
        *_wrong_spot(settings, resources),
        *_wrong_sizes(resources),
    ]
    if problems:
        raise to_error(problems)
    training = resources.training
    if training is None:
        return settings, resources
    counts = {"nodes": training.nodes} | ({"processes": training.gpus} if training.gpus else {})
    return settings.model_copy(update={"training": settings.training.model_copy(update=counts)}), resources


def _reason_for_gpu(settings: RunSettings, stage: Stage) -> str | None:
    """The setting that has the stage compute on a GPU; None if it does not."""
    if stage.on_model_device and settings.model.device == "cuda":
        return "model.device is cuda"
    reward = settings.reward
    rewards = {"none": (), "trained on": reward.terms, "all": (*reward.terms, *reward.watched)}
    for term in rewards["trained on" if stage.sharded and settings.rollout.scored else stage.rewards]:
        if str(term.options.get("device", "")).startswith("cuda"):
            return f"reward '{term.name}' has the option device: cuda"
    return None


def _wrong_gpus(settings: RunSettings, resources: Resources) -> Iterator[Problem]:
    for one in pipeline_of(settings).stages:
        stage = one.name
        reason, gpus = _reason_for_gpu(settings, one), resources.of(stage).gpus
        if reason and not gpus:
            remedy = "choose --resources single-gpu or a file that gives it one, or set that device to cpu"
            yield _problem(resources, f"{stage}.gpus", f"{reason}, but the {stage} stage is given no GPU", remedy)
        elif gpus and not reason:
            remedy = "set model.device to cuda (or the reward's option device), or choose resources without GPUs: cpu"
            message = f"the {stage} stage is given {gpus} GPU(s), but no setting has it compute on one"
            yield _problem(resources, f"{stage}.gpus", message, remedy)


def _wrong_training(settings: RunSettings, resources: Resources) -> Iterator[Problem]:
    training, given, store = settings.training, resources.training, settings.store.url
    if given is None:
        return
    said = training.model_fields_set
    if "processes" in said and given.gpus and training.processes != given.gpus:
        message = f"{training.processes} processes are to train on a node whose task is given {given.gpus} GPU(s)"
        where = f"{resources.trainer}.gpus of resources {resources.preset}"
        remedy = f"leave the setting away, or give as many GPUs as processes ({where})"
        yield Problem("training.processes", message, remedy)
    if "nodes" in said and training.nodes != given.nodes:
        message = f"{training.nodes} nodes are to train, but resources {resources.preset} give {given.nodes}"
        where = f"base: multi-node, {resources.trainer}: {{nodes: N}}"
        remedy = f"leave the setting away, and say it in a resources file: {where}"
        yield Problem("training.nodes", message, remedy)
    if given.nodes > 1:
        yield from _wrong_folders(settings, resources)
    if given.nodes > 1 and store is None:
        message = f"{given.nodes} nodes train, and reach each other's files through a store alone"
        yield Problem("store.url", message, "set store.url to s3://bucket/prefix")
    elif store is not None and not is_s3(store):
        message = f"'{store}' is a folder, which on a cluster is a pod's own and ends with it"
        yield Problem("store.url", message, "set store.url to s3://bucket/prefix")


def _wrong_folders(settings: RunSettings, resources: Resources) -> Iterator[Problem]:
    """Sizes that somebody chose, and that would go no further than the task which waits for the nodes."""
    preset = load_resources("multi-node", pipeline_of(settings)).training
    for field in ("shared_memory", "scratch"):
        size = getattr(resources.training, field)
        if size is not None and size != getattr(preset, field):
            message = f"{size} would not reach the nodes: their pods have the folders of the cluster's TrainingRuntime"
            remedy = f"leave it as in multi-node ({getattr(preset, field)}), and set the size of that volume in the "
            remedy += "TrainingRuntime advantageflow-torch (infra/base/training/runtime.yaml, or a patch of an overlay)"
            yield _problem(resources, f"{resources.trainer}.{field}", message, remedy)


def _wrong_spot(settings: RunSettings, resources: Resources) -> Iterator[Problem]:
    for stage in pipeline_of(settings).stage_names:
        if resources.of(stage).spot and not resources.of(stage).retries.count:
            message = "its nodes may be taken away (spot), and nothing starts it again"
            yield _problem(resources, f"{stage}.retries", message, "give it retries, as in {count: 5}")
    lost = settings.training.checkpoint_every == 0 or settings.store.url is None
    training = resources.training
    if training is not None and training.spot and lost:
        message = "training would start from its first step each time that its node is taken away"
        remedy = (
            "set training.checkpoint_every and store.url, so that it resumes; or take nodes that stay (spot: false)"
        )
        yield _problem(resources, f"{resources.trainer}.spot", message, remedy)


def _wrong_sizes(resources: Resources) -> Iterator[Problem]:
    from kubernetes.utils.quantity import parse_quantity

    for stage, given in resources.stages.items():
        memory = given.memory_limit or given.memory
        for field, size, field_of_most, most in (
            ("cpu", given.cpu, "cpu_limit", given.cpu_limit or given.cpu),
            ("memory", given.memory, "memory_limit", memory),
            ("shared_memory", given.shared_memory or "0", "the memory that it counts as", memory),
        ):
            if parse_quantity(size) > parse_quantity(most):
                message = f"{size} is more than {field_of_most}, {most}"
                yield _problem(resources, f"{stage}.{field}", message, "lower the one or raise the other")


def _problem(resources: Resources, path: str, message: str, remedy: str) -> Problem:
    return Problem(f"{path} (resources {resources.preset})", message, remedy)
