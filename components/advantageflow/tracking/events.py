"""Events as the journal's files hold them, and the variables that say where those go."""

from __future__ import annotations

from typing import Any

JOURNAL_ENV = "ADVANTAGEFLOW_JOURNAL"
TRACKING_ENV = "MLFLOW_TRACKING_URI"

Event = dict[str, Any]
