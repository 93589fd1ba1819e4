"""Where in the store a TrainJob's files lie."""

from __future__ import annotations

from dataclasses import dataclass

from advantageflow.store.published import join, remove_below
from advantageflow.training.trainjob.spec import run_label

TRAINJOBS = "trainjobs"  # folder of the store


@dataclass(frozen=True)
class JobFiles:
    """Addresses of a TrainJob's files.

    Attributes:
        root: address below which they all lie.
        processes: of all nodes.
    """

    root: str
    processes: int

    @classmethod
    def of(cls, store: str, key: str, processes: int) -> JobFiles:
        """Those of the job of this key: `<store>/trainjobs/<pipeline run>/<key>`, of Kubeflow's run."""
        return cls(join(store, TRAINJOBS, *filter(None, [run_label()]), key), processes)

    @property
    def inputs(self) -> str:
        """The stage's arguments and input artifacts."""
        return join(self.root, "inputs")

    @property
    def result(self) -> str:
        """The policy and the journal's events."""
        return join(self.root, "result")

    @property
    def failures(self) -> str:
        """Why processes failed, by rank."""
        return join(self.root, "failures")

    def remove(self) -> None:
        """Remove all that is there.

        Raises:
            StoreError: it cannot be removed.
        """
        remove_below(self.root)
