"""`advantageflow run` with other settings: equal seeds with any number of shards, and a broken reward."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_runs import TINY, advantageflow, complete
from summaries import comparable

pytestmark = pytest.mark.slow
BROKEN_REWARD = """
class Broken:
    name, version, columns, higher_is_better = "broken", "1", {"mean": (0.0, 1.0)}, True

    def check(self, prompt):
        pass

    def score(self, prompts, images):
        return [({"mean": 0.5}, {}) for _ in images]
"""


def test_equal_seeds_give_equal_policies_and_summaries_whatever_the_number_of_shards(tmp_path: Path) -> None:
    fewer = (
        "--set",
        "rollout.prompts_per_round=24",
        "--set",
        "evaluation.images=60",
        "--set",
        "evaluation.round_images=30",
    )
    summaries = []
    for shards in (2, 3):
        (folder := tmp_path / str(shards)).mkdir()
        choice = ("--preset", "shapes", "--rounds", "2", "--set", f"rollout.shards={shards}", *fewer)
        summaries.append(complete("run", *choice, "--workdir", "run", cwd=folder).summary)
    assert comparable(summaries[0]) == comparable(summaries[1])
    assert summaries[0]["policy_sha256"]


def test_a_reward_of_one_s_own_that_is_broken_stops_the_run_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "broken_rewards.py").write_text(BROKEN_REWARD)
    own = ("--set", "reward.name=broken_rewards:Broken", "--set", "reward.column=mean")
    done = advantageflow(*TINY, *own, "--workdir", "run", cwd=tmp_path)
    assert done.status == 2
    assert "prompts failed" in done.output
    assert "golden check of reward 'broken' 1: gave mean = 0.5 for all 13 golden pictures" in " ".join(
        done.output.split()
    )
    assert not list((tmp_path / "run" / "artifacts").rglob("*.parquet"))
