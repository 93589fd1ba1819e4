"""Imports are not looked through for garbage, and what is told to stay is never looked at again."""

from __future__ import annotations

import gc

import pytest

from advantageflow.processes import no_collections


@pytest.mark.parametrize("keep", [True, False])
def test_nothing_is_collected_within_and_what_is_kept_is_not_looked_at_again(keep: bool) -> None:
    frozen = gc.get_freeze_count()
    with no_collections(keep=keep):
        looking = gc.isenabled()
    more = gc.get_freeze_count() > frozen
    gc.unfreeze()
    assert (looking, gc.isenabled(), more) == (False, True, keep)
