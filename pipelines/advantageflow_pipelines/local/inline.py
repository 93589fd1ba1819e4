"""A run's stages in this process, one after the other, where a debugger reaches them and nothing is imported twice."""

import contextlib
import logging
import os
import pdb
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from advantageflow.errors import Preempted
from advantageflow.policy.loading import load_family
from advantageflow.processes import no_collections
from advantageflow.runtime import memory_told, run_counted, sections_of
from advantageflow.settings import ModelSettings
from advantageflow.shown import ShownFormatter
from advantageflow.store.files import write_json
from advantageflow.tracking.events import JOURNAL_ENV
from advantageflow.tracking.journal import stage_journal
from advantageflow_pipelines.local.display import RunProgress
from advantageflow_pipelines.local.interrupts import INTERRUPTS
from advantageflow_pipelines.local.tasks import explain_failure
from advantageflow_pipelines.local.workdir import TASK_DONE, WorkDir
from advantageflow_pipelines.pipelines import pipeline_of


class Stages:
    """Runs the tasks of one run here, and keeps what each makes where Kubeflow's local runner would.

    Args:
        folder: of the run's tasks, one within it for each.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(
        self,
        stage: str,
        work: Callable[..., None],
        outputs: Mapping[str, str],
        *,
        of_round: int | None = None,
        **arguments: Any,
    ) -> dict[str, Path]:
        """Run a task, unless an earlier attempt at the run has completed it.

        Args:
            outputs: the argument of `work` for each output, by the output's name.
            of_round: the round it belongs to, if any.

        Returns:
            The folder of each output.
        """
        folder = self._folder / (stage if of_round is None else f"{stage}-{of_round}")
        made = {name: folder / name for name in outputs}
        if not all(path.exists() for path in (folder / TASK_DONE, *made.values())):
            with (
                _torch_as_it_was(),
                stage_journal(stage, of_round, settings=sections_of(arguments), started=time.time()) as journal,
                memory_told(stage),
            ):
                given = arguments | {argument: made[name] for name, argument in outputs.items()}
                run_counted(work, given, journal)
            write_json(folder / TASK_DONE, {})
        return made


def run_inline(workdir: WorkDir, progress: RunProgress) -> None:
    """Run, or continue, all stages of a run in this thread, showing them as they go; its pipeline has an inline form.

    Raises:
        RunFailed: a stage failed; says why.
        KeyboardInterrupt: it was asked to end.
    """
    settings = workdir.settings
    work = pipeline_of(settings).inline
    assert work is not None
    with progress.following(workdir.journal), _logged(workdir.log_file), _reachable(progress):
        os.environ[JOURNAL_ENV] = str(workdir.journal)
        try:
            with INTERRUPTS.work():
                _load_libraries(settings.model)
                work(settings, Stages(workdir.artifacts / settings.pipeline.partition(":")[0]))
            return
        except Preempted as error:
            raise KeyboardInterrupt from error
        except Exception as error:
            logging.getLogger(__name__).exception("the run failed")
            failure = error
        finally:
            del os.environ[JOURNAL_ENV]
    raise explain_failure(workdir, progress.tasks) from failure


def _load_libraries(model: ModelSettings) -> None:
    """Import what the stages need. Raises nothing: the stage that needs what is not there tells."""
    fresh = "torch" not in sys.modules  # so that there is no model either
    with no_collections(keep=fresh), contextlib.suppress(Exception):
        import_module("advantageflow.policy.adapters")
        family = load_family(model)
        family.transformer_class()
        family.autoencoder_class()


@contextlib.contextmanager
def _logged(file: Path) -> Iterator[None]:
    """What the stages log, and what libraries print on standard error, goes to the run's log."""
    root = logging.getLogger()
    with file.open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        handler, level = logging.StreamHandler(log), root.level
        handler.setFormatter(ShownFormatter())
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)


@contextlib.contextmanager
def _reachable(progress: RunProgress) -> Iterator[None]:
    """Let breakpoint() take the bars away, which would else be drawn over the debugger's prompt."""
    before = sys.breakpointhook

    def stop_here() -> None:
        progress.stop()
        INTERRUPTS.leave()  # Ctrl-C is the debugger's
        if before is not sys.__breakpointhook__ or os.environ.get("PYTHONBREAKPOINT"):
            before()  # of another debugger
        else:
            pdb.Pdb(nosigint=True).set_trace(sys._getframe(1))

    sys.breakpointhook = stop_here
    try:
        yield
    finally:
        sys.breakpointhook = before


@contextlib.contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Take back what a stage sets in torch for its own process: threads, and which kernels may be used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which training asks for, too late once CUDA is in use
    import torch

    threads, repeatable = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(repeatable)
