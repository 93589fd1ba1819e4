"""The online pipeline: prepare -> evaluate -> rounds of (shards of rollout -> reward) -> train, evaluating as it goes.

Kubeflow reads the annotations of pipeline functions, so they must not be postponed: no `annotations` import here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from advantageflow.evaluation.component import evaluation
from advantageflow.loop.component import rollout as scored_rollout
from advantageflow.prompts.component import prompts
from advantageflow.rollout.component import rollout
from advantageflow.scoring.component import reward
from advantageflow.settings import RunSettings
from advantageflow.tracking.component import continuing
from advantageflow.tracking.continuing import parameter_of
from advantageflow.training.component import training, training_on_nodes
from advantageflow_pipelines.pipelines import pipeline_of
from advantageflow_pipelines.pipelines.definition import ROUND, Segment
from advantageflow_pipelines.pipelines.online.definition import evaluations
from advantageflow_pipelines.pipelines.parameters import Form, taking
from advantageflow_pipelines.placing.placement import Placement

_HANDED = {
    "prompts": dsl.Dataset,
    "conditioning": dsl.Dataset,
    "policy": dsl.Model,
    "rollout_policy": dsl.Model,
    "base": dsl.Artifact,
    "start": dsl.Model,
}


def online_tasks(settings: RunSettings, placement: Placement, form: Form) -> "Callable[..., Made]":
    """What makes the tasks of a run, or of a segment of it.

    The number of rounds and shards and the evaluated rounds are fixed here, as Kubeflow has no loop whose passes build
    on each other. What the stages are told is what the form gives.
    """
    judged = [number for number, _ in evaluations(settings)]
    pipeline, segment = pipeline_of(settings), placement.segment or Segment(1, settings.rounds)
    rounds = [_round_pipeline(number, placement, form) for number in range(segment.first, segment.last + 1)]

    def online(**given: Any) -> Made:
        """Rounds of rollout, reward and training."""
        if segment.first > 1:
            shared = {
                name: dsl.importer(
                    artifact_uri=given[parameter_of(name)], artifact_class=_HANDED[name], reimport=False
                ).output
                for name in pipeline.handed
            }
        else:
            shared = prepare(placement, form, given)
        evaluate = judge(settings, placement, form, given, shared)
        made = shared
        start = shared.get("start") if segment.first > 1 else shared["adapter"]
        before = [] if segment.first > 1 else [evaluate(0, start)]
        base = before[0].outputs["report"] if before else shared["base"]
        for number, (one_round, of_round) in enumerate(rounds, start=segment.first):
            trained = one_round(
                round_index=number,
                prompts=shared["prompts"],
                conditioning=shared["conditioning"],
                policy=made["policy"],
                rollout_policy=made["rollout_policy"],
                **of_round.values(given),
            )
            trained.set_display_name(f"round {number}")
            if placement.in_order and before:
                trained.after(before[-1])
            made = trained.outputs
            if number in judged:
                # The last has all of the policy, which it registers.
                part = "policy" if number == settings.rounds else "adapter"
                before.append(evaluate(number, made[part], base=base))
        if segment.following:
            handed = {**given, **shared, **made, "base": base, "start": start}
            told = {name: handed[name] for name in (*pipeline.handed, *pipeline.told)}
            task = continuing(rounds=segment.following, **told)
            placement.place_own("continuing", task.after(*before), "prompts")
        return Made(shared, start, made, base, before[-1].outputs["report"] if before else base)

    return online


def prepare(placement: Placement, form: Form, given: dict[str, Any]) -> Any:
    """What the first task makes: prompts, what conditions the model for them, the policy that the run starts from."""
    task = prompts(**form.inputs("prompts", prompts, given), **placement.made_for_a_run)
    return placement.place("prompts", task, cached=not placement.reads_addresses).outputs


def judge(
    settings: RunSettings, placement: Placement, form: Form, given: dict[str, Any], texts: Any
) -> "Callable[..., dsl.PipelineTask]":
    """What makes the evaluation of a policy after a round, on prompts of `prepare`: in full at both ends of the run."""

    def evaluate(round_index: int, policy: Any, **base: Any) -> dsl.PipelineTask:
        in_full = round_index in (0, settings.rounds)
        task = evaluation(
            round_index=round_index,
            images=given["evaluation_images" if in_full else "round_images"],
            prompts=texts["prompts"],
            conditioning=texts["conditioning"],
            policy=policy,
            **base,
            **form.inputs("evaluation", evaluation, given),
        )
        task.set_display_name(f"evaluation after round {round_index}" if round_index else "evaluation of the start")
        return placement.place("evaluation", task)

    return evaluate


class Made(NamedTuple):
    """What the tasks of a run make."""

    shared: Any  # prompts, and what conditions the model
    start: Any  # the policy that the run starts from
    made: Any  # the policy after the last round
    base: Any  # reports of the first and the last evaluation
    final: Any


class _Policy(NamedTuple):
    """What a round gives: the policy after it, and what evaluations and rollouts read of that."""

    policy: dsl.Model
    adapter: dsl.Model
    rollout_policy: dsl.Model


def _round_pipeline(number: int, placement: Placement, form: Form) -> tuple[BaseComponent, Form]:
    """One round as a pipeline of its own: shards of rollout and reward side by side, then training on all of them.

    And what of the form it takes. With `rollout.scored` a shard is one task.
    """
    scored_there = placement.settings.rollout.scored
    roll_out = scored_rollout if scored_there else rollout
    train = training_on_nodes if placement.on_nodes else training
    form = form.part(rollout=roll_out, reward=reward, training=train)

    @dsl.pipeline(name=f"{ROUND}{number:02d}")
    @taking(form)
    def one_round(
        round_index: int,
        prompts: dsl.Input[dsl.Dataset],
        conditioning: dsl.Input[dsl.Dataset],
        policy: dsl.Input[dsl.Model],
        rollout_policy: dsl.Input[dsl.Model],
        **given: Any,
    ) -> _Policy:
        with dsl.ParallelFor(list(range(placement.settings.rollout.shards))) as shard:
            rolled_out = roll_out(
                round_index=round_index,
                shard=shard,
                prompts=prompts,
                conditioning=conditioning,
                rollout_policy=rollout_policy,
                **form.inputs("rollout", roll_out, given),
            )
            placement.place(
                "rollout", rolled_out.set_display_name("rollout"), image="evaluation" if scored_there else ""
            )
            scored = rolled_out
            if not scored_there:
                scored = reward(
                    round_index=round_index,
                    shard=shard,
                    prompts=prompts,
                    rollouts=rolled_out.outputs["rollouts"],
                    **form.inputs("reward", reward, given),
                )
                placement.place("reward", scored.set_display_name("reward"))
        trained = train(
            round_index=round_index,
            prompts=prompts,
            conditioning=conditioning,
            policy=policy,
            latents=dsl.Collected(rolled_out.outputs["latents"]),
            scores=dsl.Collected(scored.outputs["scores"]),
            **form.inputs("training", train, given),
        )
        placement.place("training", trained.set_display_name("training"))
        return _Policy(
            policy=trained.outputs["new_policy"],
            adapter=trained.outputs["adapter"],
            rollout_policy=trained.outputs["rollout_policy"],
        )

    return one_round, form
