"""The resident pipeline: prepare -> evaluate -> loop of rounds -> evaluate -> loop of rounds -> evaluate ...

Kubeflow reads the annotations of pipeline functions, so they must not be postponed: no `annotations` import here.
"""

from collections.abc import Callable
from typing import Any

from advantageflow.errors import SettingsError
from advantageflow.loop.component import loop
from advantageflow.settings import RunSettings
from advantageflow_pipelines.pipelines.online.definition import evaluations
from advantageflow_pipelines.pipelines.online.pipeline import judge, prepare
from advantageflow_pipelines.pipelines.parameters import Form
from advantageflow_pipelines.placing.placement import Placement


def resident_tasks(settings: RunSettings, placement: Placement, form: Form) -> Callable[..., None]:
    """What makes the tasks of a run, as of Pipeline.build: a loop from each evaluation to the next.
    Raises SettingsError: the loop is given several nodes.
    """
    if placement.on_nodes:
        remedy = "give it one node, or use pipeline online, whose training runs on several"
        raise SettingsError("the loop runs on one node", where="loop.nodes of the resources", remedy=remedy)
    judged = [one.round_index for one in evaluations(settings)]

    def resident(**given: Any) -> None:
        """Rounds in one process, judged now and then."""
        made = prepare(placement, form, given)
        texts = {name: made[name] for name in ("prompts", "conditioning")}
        evaluate = judge(settings, placement, form, given, made)
        before = evaluate(0, made["adapter"])
        base, policy = before.outputs["report"], made["policy"]
        for number in judged[1:]:
            task = loop(round_index=number, policy=policy, **texts, **form.inputs("loop", loop, given))
            placement.place("loop", task.set_display_name(f"loop to round {number}"))
            if placement.in_order:
                task.after(before)
            policy = task.outputs["new_policy"]
            before = evaluate(number, task.outputs["adapter"], base=base)

    return resident
