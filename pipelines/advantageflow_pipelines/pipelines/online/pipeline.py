"""The online pipeline: prepare -> evaluate -> rounds of (shards of rollout -> reward) -> train, evaluating as it goes.

Kubeflow reads the annotations of pipeline functions, so they must not be postponed: no `annotations` import here.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from kfp import compiler, dsl
from kfp.dsl.base_component import BaseComponent

from advantageflow.evaluation.component import evaluation
from advantageflow.prompts.component import prompts
from advantageflow.reward.component import reward
from advantageflow.rollout.component import rollout
from advantageflow.settings import RunSettings, Settings
from advantageflow.tracking.component import closing
from advantageflow.training.component import training, training_on_nodes
from advantageflow_pipelines.pipelines.online.schedule import evaluations
from advantageflow_pipelines.placing.images import StageImages
from advantageflow_pipelines.placing.placement import Placement
from advantageflow_pipelines.placing.resources.records import Resources

PIPELINE_NAME = "advantageflow-online"
DEFAULT_IMAGES = StageImages()
DESCRIPTION = "Fine-tune a rectified-flow model by rounds of rollout, reward and training."


def online_pipeline(
    settings: RunSettings,
    images: StageImages = DEFAULT_IMAGES,
    resources: Resources | None = None,
    *,
    in_order: bool = False,
) -> BaseComponent:
    """Build the pipeline of a run.

    The number of rounds and shards and the evaluated rounds are fixed here, as Kubeflow has no loop whose passes build
    on each other. What the stages are told (settings as JSON, seed) are pipeline parameters with the run's values as
    defaults.

    Args:
        settings: the run.
        images: container image of each stage.
        resources: what each stage gets of a cluster, as `fit` gives; None on one machine.
        in_order: let each round wait for the evaluation before it. A cluster evaluates beside the next round; one
            machine has nothing to gain from that, and stops at the first failure this way.
    """
    placement = Placement(settings, images, resources)
    rounds = [_round_pipeline(number, placement) for number in range(1, settings.rounds + 1)]
    judged_on = dict(evaluations(settings))

    @dsl.pipeline(name=PIPELINE_NAME, description=DESCRIPTION)
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
    ) -> None:
        with _closed_at_the_end(placement):
            prepared = placement.place(
                "prompts",
                prompts(
                    prompt_settings=prompt_settings,
                    model_settings=model_settings,
                    reward_settings=reward_settings,
                    store_settings=store_settings,
                    seed=seed,
                    init_policy=init_policy,
                ),
            )

            def evaluate(round_index: int, policy: Any, **base: Any) -> dsl.PipelineTask:
                judged = evaluation(
                    evaluation_settings=evaluation_settings,
                    model_settings=model_settings,
                    reward_settings=reward_settings,
                    seed=seed,
                    round_index=round_index,
                    images=judged_on[round_index],
                    prompts=prepared.outputs["prompts"],
                    conditioning=prepared.outputs["conditioning"],
                    policy=policy,
                    **base,
                )
                return placement.place("evaluation", judged)

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
                )
                if in_order:
                    trained.after(before)
                policy = trained.output
                if number in judged_on:
                    before = evaluate(number, policy, base=base)

    return online


def compile_pipeline(
    settings: RunSettings,
    path: Path,
    images: StageImages = DEFAULT_IMAGES,
    resources: Resources | None = None,
    *,
    in_order: bool = False,
) -> None:
    """Write the pipeline of a run as Kubeflow IR (YAML) to `path`; see online_pipeline."""
    compiler.Compiler().compile(online_pipeline(settings, images, resources, in_order=in_order), str(path))


def _closed_at_the_end(placement: Placement) -> AbstractContextManager[Any]:
    """Around all tasks of a run on a cluster: a last task then ends the run in MLflow, whatever came of them.

    It also ends what they left on nodes.

    A task of its own, as only Kubeflow sees that a pod was killed, evicted, never started or not started again; the
    task in it, or the last evaluation, could not tell. On one machine the process that started the run does it.
    """
    if placement.resources is None:
        return nullcontext()
    return dsl.ExitHandler(placement.place_closing(closing(nodes=placement.resources.training.nodes)), name="run")


def _round_pipeline(number: int, placement: Placement) -> BaseComponent:
    """One round as a pipeline of its own: shards of rollout and reward side by side, then training on all of them."""
    train = training_on_nodes if placement.on_nodes else training

    @dsl.pipeline(name=f"round-{number:02d}")
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
        )
        for stage, task in (("rollout", rolled_out), ("reward", scored), ("training", trained)):
            placement.place(stage, task)
        return trained.outputs["new_policy"]

    return one_round


def _json(settings: Settings) -> str:
    return settings.model_dump_json()
