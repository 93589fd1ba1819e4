"""The online pipeline: prepare -> evaluate -> rounds of (shards of rollout -> reward) -> train, evaluating as it goes.

Kubeflow reads the annotations of pipeline functions, so they must not be postponed: no `annotations` import here.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from advantageflow.evaluation.component import evaluation
from advantageflow.prompts.component import prompts
from advantageflow.rollout.component import rollout
from advantageflow.scoring.component import reward
from advantageflow.settings import RunSettings, Settings
from advantageflow.tracking.component import closing, opening
from advantageflow.training.component import training, training_on_nodes
from advantageflow_pipelines.pipelines.definition import ROUND
from advantageflow_pipelines.pipelines.online.parameters import PARAMETERS
from advantageflow_pipelines.pipelines.online.schedule import evaluations
from advantageflow_pipelines.pipelines.parameters import Shown, inputs_of, shown_for, taking
from advantageflow_pipelines.placing.placement import Placement

PIPELINE_NAME = "advantageflow-online"
DESCRIPTION = "Fine-tune a rectified-flow model by rounds of rollout, reward and training."


def online_pipeline(settings: RunSettings, placement: Placement, *, in_order: bool = False) -> BaseComponent:
    """Build the pipeline of a run.

    The number of rounds and shards and the evaluated rounds are fixed here, as Kubeflow has no loop whose passes build
    on each other. What the stages are told are pipeline parameters with the run's values as defaults: what a person
    changes from run to run one by one (see parameters.py), seed, policy, and the rest as JSON, a section each.

    Args:
        settings: the run.
        placement: where its tasks run.
        in_order: let each round wait for the evaluation before it.
    """
    judged = [number for number, _ in evaluations(settings)]
    shown = [one for one in shown_for(settings, PARAMETERS) if one.name != "round_images" or judged[1:-1]]
    rounds = [_round_pipeline(number, placement, shown) for number in range(1, settings.rounds + 1)]

    @dsl.pipeline(name=PIPELINE_NAME, description=DESCRIPTION)
    @taking(shown, in_form=True)
    def online(
        prompt_settings: str = _json(settings.prompts),
        model_settings: str = _json(settings.model),
        rollout_settings: str = _json(settings.rollout),
        reward_settings: str = _json(settings.reward),
        training_settings: str = _json(settings.training.of_a_run(settings.rounds)),
        evaluation_settings: str = _json(settings.evaluation),
        store_settings: str = _json(settings.store),
        seed: int = settings.seed,
        init_policy: str = settings.init_policy or "",
        **given: Any,
    ) -> None:
        """Rounds of rollout, reward and training.

        Args:
            prompt_settings: other settings of prompts, as JSON.
            model_settings: other settings of model, as JSON.
            rollout_settings: other settings of rollout, as JSON.
            reward_settings: other settings of reward, as JSON.
            training_settings: other settings of training, as JSON.
            evaluation_settings: other settings of evaluation, as JSON.
            store_settings: other settings of store, as JSON.
            seed: equal seeds give equal runs.
            init_policy: s3:// address of a policy to continue from; empty to begin at the base model.
        """
        with _closed_at_the_end(placement, store_settings):
            prepared = placement.place(
                "prompts",
                prompts(
                    prompt_settings=prompt_settings,
                    model_settings=model_settings,
                    reward_settings=reward_settings,
                    store_settings=store_settings,
                    seed=seed,
                    init_policy=init_policy,
                    **inputs_of("prompts", shown, given),
                ),
                cached=not placement.reads_addresses,
            )

            if placement.resources is not None:
                opened = opening(
                    prompt_settings=prompt_settings,
                    model_settings=model_settings,
                    rollout_settings=rollout_settings,
                    reward_settings=reward_settings,
                    training_settings=training_settings,
                    evaluation_settings=evaluation_settings,
                    store_settings=store_settings,
                    seed=seed,
                    last_task=f"round {settings.rounds} / evaluation",
                    # Kubeflow's local runner takes no whole number that is left out.
                    **{"round_images": settings.evaluation.round_images, **given},
                )
                prepared.after(placement.place_opening(opened, "prompts"))  # which is no part of the cache's key

            def evaluate(round_index: int, policy: Any, **base: Any) -> dsl.PipelineTask:
                in_full = round_index in (0, settings.rounds)
                task = evaluation(
                    evaluation_settings=evaluation_settings,
                    model_settings=model_settings,
                    reward_settings=reward_settings,
                    seed=seed,
                    round_index=round_index,
                    images=given["evaluation_images" if in_full else "round_images"],
                    prompts=prepared.outputs["prompts"],
                    conditioning=prepared.outputs["conditioning"],
                    policy=policy,
                    **base,
                    **inputs_of("evaluation", shown, given),
                )
                return placement.place("evaluation", task)

            policy = prepared.outputs["policy"]
            before = evaluate(0, policy)
            base = before.outputs["report"]
            for number, one_round in enumerate(rounds, start=1):
                trained = one_round(
                    round_index=number,
                    rollout_settings=rollout_settings,
                    reward_settings=reward_settings,
                    training_settings=training_settings,
                    model_settings=model_settings,
                    store_settings=store_settings,
                    seed=seed,
                    prompts=prepared.outputs["prompts"],
                    conditioning=prepared.outputs["conditioning"],
                    policy=policy,
                    **{one.name: given[one.name] for one in _of_a_round(shown)},
                )
                if in_order:
                    trained.after(before)
                policy = trained.output
                if number in judged:
                    before = evaluate(number, policy, base=base)

    return online


def _closed_at_the_end(placement: Placement, store_settings: Any) -> AbstractContextManager[Any]:
    """Around all tasks of a run on a cluster: a last task then ends the run in MLflow, whatever came of them.

    It also ends what they left on nodes.

    A task of its own, as only Kubeflow sees that a pod was killed, evicted, never started or not started again; the
    task in it, or the last evaluation, could not tell. On one machine the process that started the run does it.
    """
    if placement.resources is None:
        return nullcontext()
    stage = "training" if placement.on_nodes else "evaluation"  # whose image has what it needs to end nodes
    closed = closing(nodes=placement.resources.nodes, store_settings=store_settings)
    return dsl.ExitHandler(placement.place_closing(closed, stage), name="run")


def _round_pipeline(number: int, placement: Placement, shown: Sequence[Shown]) -> BaseComponent:
    """One round as a pipeline of its own: shards of rollout and reward side by side, then training on all of them."""
    train = training_on_nodes if placement.on_nodes else training

    @dsl.pipeline(name=f"{ROUND}{number:02d}")
    @taking(_of_a_round(shown))
    def one_round(
        round_index: int,
        rollout_settings: str,
        reward_settings: str,
        training_settings: str,
        model_settings: str,
        store_settings: str,
        seed: int,
        prompts: dsl.Input[dsl.Dataset],
        conditioning: dsl.Input[dsl.Dataset],
        policy: dsl.Input[dsl.Model],
        **given: Any,
    ) -> dsl.Model:
        with dsl.ParallelFor(list(range(placement.settings.rollout.shards))) as shard:
            rolled_out = rollout(
                rollout_settings=rollout_settings,
                model_settings=model_settings,
                seed=seed,
                round_index=round_index,
                shard=shard,
                prompts=prompts,
                conditioning=conditioning,
                policy=policy,
                **inputs_of("rollout", shown, given),
            )
            scored = reward(
                reward_settings=reward_settings,
                round_index=round_index,
                shard=shard,
                prompts=prompts,
                rollouts=rolled_out.outputs["rollouts"],
            )
        trained = train(
            training_settings=training_settings,
            reward_settings=reward_settings,
            model_settings=model_settings,
            store_settings=store_settings,
            seed=seed,
            round_index=round_index,
            prompts=prompts,
            conditioning=conditioning,
            policy=policy,
            rollouts=dsl.Collected(rolled_out.outputs["rollouts"]),
            scores=dsl.Collected(scored.outputs["scores"]),
            **inputs_of("training", shown, given),
        )
        for stage, task in (("rollout", rolled_out), ("reward", scored), ("training", trained)):
            placement.place(stage, task)
        return trained.outputs["new_policy"]

    return one_round


def _of_a_round(shown: Sequence[Shown]) -> list[Shown]:
    """The parameters that the stages of a round are given."""
    return [one for one in shown if one.parameter.stage in ("rollout", "training")]


def _json(settings: Settings) -> str:
    """What differs from the defaults: every node of a run on a cluster holds it several times."""
    return settings.model_dump_json(exclude_defaults=True)
