"""The resident pipeline: prepare -> evaluate -> loop of rounds -> evaluate -> loop of rounds -> evaluate ...

Kubeflow reads the annotations of pipeline functions, so they must not be postponed: no `annotations` import here.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from advantageflow.errors import SettingsError
from advantageflow.evaluation.component import evaluation
from advantageflow.loop.component import loop
from advantageflow.prompts.component import prompts
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.online.work import evaluations
from advantageflow_pipelines.pipelines.parameters import Form
from advantageflow_pipelines.placing.placement import Placement


def resident_tasks(
    settings: RunSettings, placement: Placement, form: Form, in_order: bool = False
) -> Callable[..., None]:
    """What makes the tasks of a run, as of Pipeline.build: a loop from each evaluation to the next.

    Raises:
        SettingsError: the loop is given several nodes.
    """
    if placement.on_nodes:
        remedy = "give it one node, or use pipeline online, whose training runs on several"
        raise SettingsError("the loop runs on one node", where="loop.nodes of the resources", remedy=remedy)
    judged = [one.round_index for one in evaluations(settings)]

    def resident(**given: Any) -> None:
        """Rounds in one process, judged now and then."""
        asked = prompts(**form.inputs("prompts", prompts, given), **placement.made_for_a_run)
        prepared = placement.place("prompts", asked, cached=not placement.reads_addresses)
        texts = {name: prepared.outputs[name] for name in ("prompts", "conditioning")}

        def evaluate(round_index: int, policy: Any, **base: Any) -> dsl.PipelineTask:
            in_full = round_index in (0, settings.rounds)
            task = evaluation(
                round_index=round_index,
                images=given["evaluation_images" if in_full else "round_images"],
                policy=policy,
                **texts,
                **base,
                **form.inputs("evaluation", evaluation, given),
            )
            task.set_display_name(f"evaluation after round {round_index}" if round_index else "evaluation of the start")
            return placement.place("evaluation", task)

        before = evaluate(0, prepared.outputs["adapter"])
        base, policy = before.outputs["report"], prepared.outputs["policy"]
        for number in judged[1:]:
            made = loop(round_index=number, policy=policy, **texts, **form.inputs("loop", loop, given))
            placement.place("loop", made.set_display_name(f"loop to round {number}"))
            if in_order:
                made.after(before)
            policy = made.outputs["new_policy"]
            before = evaluate(number, made.outputs["adapter"], base=base)

    return resident
