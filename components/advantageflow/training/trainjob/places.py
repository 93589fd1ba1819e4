"""Where in the store a TrainJob's files lie: below `trainjobs/<pipeline run>/<key>`, of Kubeflow's run."""

from __future__ import annotations

from dataclasses import dataclass

from advantageflow.store.published import join, remove_published
from advantageflow.training.trainjob.failures import remove_failures
from advantageflow.training.trainjob.spec import run_label


@dataclass(frozen=True)
class Places:
    """Addresses of a TrainJob's files.

    Attributes:
        inputs: the stage's arguments and input artifacts.
    """

    inputs: str

    @classmethod
    def of(cls, store: str, key: str) -> Places:
        """Those of the job of this key, in this store."""
        return cls(join(store, "trainjobs", *filter(None, [run_label()]), key, "inputs"))

    @property
    def result(self) -> str:
        """The policy and the journal's events."""
        return self._beside("result")

    @property
    def failures(self) -> str:
        """Why processes failed, by rank."""
        return self._beside("failures")

    def remove(self, processes: int) -> None:
        """Remove all that is there.

        Args:
            processes: of all nodes.

        Raises:
            StoreError: it cannot be removed.
        """
        remove_published(self.inputs)
        remove_published(self.result)
        remove_failures(self.failures, processes)

    def _beside(self, name: str) -> str:
        return join(self.inputs.rpartition("/")[0], name)
