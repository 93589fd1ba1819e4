"""The process that a reward lives in: `python -m advantageflow.rewards.plumbing.guard_worker FD PARENT`."""

import contextlib
import json
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from advantageflow.errors import RewardError, UserError
from advantageflow.processes import end_with_parent
from advantageflow.rewards.base import Reward, planned_version
from advantageflow.rewards.plumbing.checks import check_readable, score_images
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.rewards.plumbing.results import check_declaration


def main() -> None:
    """Make a reward and answer for it, until the connection is closed."""
    end_with_parent(int(sys.argv[2]))
    with contextlib.suppress(OSError):  # rather this process than the stage, where memory runs out
        Path("/proc/self/oom_score_adj").write_text("1000")
    connection = Connection(int(sys.argv[1]))
    served = _Served()
    with contextlib.suppress(EOFError):
        while True:
            what, arguments = connection.recv()
            connection.send_bytes(_answer(getattr(served, what), arguments))


class _Served:
    """What a parent may ask for."""

    reward: Reward

    def make(self, name: str, options: dict[str, Any], term: str) -> dict[str, Any]:
        self.reward = get_reward(name, options, term=term)
        check_declaration(self.reward)
        return {
            "name": self.reward.name,
            "columns": dict(self.reward.columns),
            "higher_is_better": self.reward.higher_is_better,
            "reads_any": getattr(self.reward, "reads_any", False),
            "headline": getattr(self.reward, "headline", None),
        }

    def version(self) -> str:
        return self.reward.version

    def planned_version(self) -> str:
        return planned_version(self.reward)

    def check(self, prompt: Any) -> None:
        check_readable(self.reward, prompt)

    def score(self, prompts: Any, images: Any, samples: Any) -> Any:
        return score_images(self.reward, prompts, images, samples)


def _answer(work: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """What `work` gives, or its error, as JSON: the parent must not have to import the reward's own classes."""
    try:
        answer: dict[str, Any] = {"value": work(*arguments)}
    except UserError as error:
        answer = {"error": [type(error).__name__, error.message, error.where, error.remedy]}
    except BaseException as error:  # also sys.exit(): the parent names the reward
        remedy = "see the reward's own error; mend the reward, then run again with --resume"
        answer = {"error": [RewardError.__name__, f"failed: {type(error).__name__}: {error}", "", remedy]}
    return json.dumps(answer).encode("ascii")


if __name__ == "__main__":
    main()
