"""Property tests have no deadline: the first call of a torch function is slow, and that is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
