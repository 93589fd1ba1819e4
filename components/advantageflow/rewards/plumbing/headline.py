"""Which of a reward's columns heads a report: the accuracy that its field compares models by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advantageflow.rewards.base import Reward

STRICT = "strict"  # 0 or 1: everything is exactly as asked
CORRECT = "correct"  # 0 or 1: the official evaluation passes, which may ask for less
ACCURACIES = (STRICT, CORRECT)


def headline_column(reward: Reward, trained: str) -> str:
    """The column that reports are headed by.

    A reward may name it in its attribute `headline` (GenEval's is 'correct': strict scores are for training). Else it
    is 'strict'; and for a reward that has no such column, the one that training maximises.

    Args:
        reward: the first term's reward.
        trained: the column that training maximises.
    """
    named = getattr(reward, "headline", STRICT)
    return named if named in reward.columns else trained
