"""What a queue such as Kueue does to a TrainJob: holds it back, admits it, and may take it off its nodes again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from advantageflow.training.trainjob.ending import suspension

logger = logging.getLogger(__name__)


class Admission:
    """Tells once when the queue suspends the job, and once when it lets it run.

    Args:
        job: name, for people.
        resumed: called when the job may run again after it was taken off its nodes.
    """

    def __init__(self, job: str, resumed: Callable[[], None]) -> None:
        self._job, self._resumed = job, resumed
        self._is_suspended = self._was_taken_off = False

    def follow(self, job: Mapping[str, Any], ran: bool) -> None:
        """Told of the job, again and again, and whether any of its pods has run yet."""
        why = suspension(job)
        if why is not None and not self._is_suspended:
            self._is_suspended, self._was_taken_off = True, ran
            if ran:
                goes_on = "from its last checkpoint, where training.checkpoint_every keeps some"
                logger.warning(
                    "[%s] is taken off its nodes (%s); waits for its queue to resume it, and goes on %s",
                    self._job, why, goes_on,
                )  # fmt: skip
            else:
                logger.info("[%s] waits for a queue to admit it (%s)", self._job, why)
        elif why is None and self._is_suspended:
            self._is_suspended = False
            logger.info("[%s] is admitted", self._job)
            if self._was_taken_off:
                self._resumed()
