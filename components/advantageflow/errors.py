"""Errors that a user can mend: each names the place at fault and the remedy."""

from advantageflow.shown import masked


class UserError(Exception):
    """A mistake in what the user supplied; shown as one clear message, exit code 2, passwords in addresses masked.

    It says what is wrong in one sentence, `where` (the file, line, field or sample at fault), and what to do about it.
    """

    def __init__(self, message: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(masked(message))
        self.message = masked(message)
        self.where = masked(where)
        self.remedy = masked(remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  what to do: {self.remedy}" if self.remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.where, self.remedy))


class SettingsError(UserError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(UserError):
    """A file or record (prompt, rollout, score) that cannot be used."""


class StoreError(UserError):
    """An artifact that cannot be written or read: disk full, unwritable folder, corrupt file."""


class PolicyError(UserError):
    """A policy folder or model that is missing, corrupt or does not fit the base model."""


class RewardError(UserError):
    """A reward that failed on a sample; a failed reward is never a score of 0."""


class TrainingError(UserError):
    """A training that diverged; the policy that it started from is untouched."""


class Preempted(UserError):
    """A task that was told to end, or lost a node: run again, it goes on from its last checkpoint, if it keeps any."""


class MemoryEnded(UserError):
    """A stage that needs more memory than there is, as its settings have it."""


class ClusterError(UserError):
    """A Kubernetes cluster, or its Kubeflow, that refuses what is asked of it, or cannot be reached."""


class TrackingError(UserError):
    """MLflow that cannot be reached or written; what the stages computed is never lost by it."""


def _rebuild(kind: type[UserError], message: str, where: str, remedy: str) -> UserError:
    return kind(message, where=where, remedy=remedy)
