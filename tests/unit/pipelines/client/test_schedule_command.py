"""`advantageflow schedule`: schedules are made, listed, paused, resumed and deleted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp_stub.server import KfpStub, said

from advantageflow.errors import SettingsError
from advantageflow_pipelines.client.schedules import When, by_cron, by_interval

Command = Callable[..., tuple[int, str, str]]
CREATE = ("schedule", "create", "--preset", "tiny", "--rounds", "1", "--image", "registry.example/stage:1")
WEEKLY = ("--cron", "0 0 3 * * mon")
RECORDINGS = Path(__file__).parents[3] / "data" / "kfp-live"


@pytest.fixture
def create(advantageflow: Command, server: KfpStub) -> Command:
    """Make a schedule on the server."""

    def run(*arguments: str, name: str = "weekly") -> tuple[int, str, str]:
        return advantageflow(*CREATE, "--host", server.url, "--name", name, *arguments)

    return run


def only(table: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (record,) = table.values()
    return record


def test_a_schedule_runs_one_at_a_time_and_leaves_missed_runs_out(create: Command, server: KfpStub) -> None:
    status, out, _ = create(*WEEKLY)
    assert status == 0
    made, version = only(server.state.schedules), only(server.state.versions)
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * mon"}}
    assert made["max_concurrency"] == "1"
    assert made["no_catchup"] is True
    assert made["status"] == "ENABLED"
    assert made["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert only(server.state.pipelines)["display_name"] == "advantageflow-online"
    assert f"{server.url}/#/recurringrun/details/{made['recurring_run_id']}" in out
    assert "UTC" in out


def test_no_run_of_a_schedule_takes_the_results_of_the_one_before(create: Command, server: KfpStub) -> None:
    create(*WEEKLY)
    assert "enableCache" not in repr(only(server.state.versions)["pipeline_spec"])


def test_what_is_asked_for_instead_is_sent(create: Command, server: KfpStub) -> None:
    status, _, _ = create(
        "--every", "6h", "--max-concurrency", "3", "--catch-up", "--service-account", "runner",
        "--upload-as", "retraining", "--version-name", "v1", "--experiment", "nightly",
    )  # fmt: skip
    assert status == 0
    made, version = only(server.state.schedules), only(server.state.versions)
    assert made["trigger"] == {"periodic_schedule": {"interval_second": "21600"}}
    assert (made["max_concurrency"], made["no_catchup"], made["service_account"]) == ("3", False, "runner")
    assert only(server.state.experiments)["display_name"] == "nightly"
    assert only(server.state.pipelines)["display_name"] == "retraining"
    assert version["display_name"] == "v1"


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (("--cron", "0 3 * * 1"), "'0 0 3 * * 1'"),
        (("--every", "often"), "--every 6h"),
        ((), "neither is given"),
        ((*WEEKLY, "--every", "6h"), "both are given"),
    ],
)
def test_a_wrong_time_is_refused_before_the_server_is_asked(
    create: Command, server: KfpStub, when: tuple[str, ...], words: str
) -> None:
    status, _, err = create(*when)
    assert status == 2
    assert words in err
    assert "what to do: " in err
    assert not server.seen


def test_the_same_pipeline_is_uploaded_once_and_another_one_as_a_new_version(create: Command, server: KfpStub) -> None:
    assert create(*WEEKLY, name="one")[0] == 0
    assert create(*WEEKLY, name="two")[0] == 0
    assert len(server.state.versions) == 1
    assert create(*WEEKLY, "--seed", "9", name="three")[0] == 0
    assert len(server.state.versions) == 2
    assert len(server.state.pipelines) == 1
    assert len(server.state.schedules) == 3


def test_a_version_name_that_is_taken_is_refused(create: Command, server: KfpStub) -> None:
    assert create(*WEEKLY, "--version-name", "v1", name="one")[0] == 0
    status, _, err = create(*WEEKLY, "--version-name", "v1", name="two")
    assert status == 2
    assert "pipeline 'advantageflow-online' has a version 'v1' already" in err
    assert len(server.state.schedules) == 1


def test_a_version_name_that_somebody_takes_meanwhile_is_refused_as_well(create: Command, server: KfpStub) -> None:
    server.faults["upload_pipeline_version"] = [said(409, "it exists")]
    status, _, err = create(*WEEKLY, "--version-name", "v1")
    assert status == 2
    assert "the name is taken: version 'v1'" in err


def test_a_name_that_is_taken_is_refused_before_anything_is_uploaded(create: Command, server: KfpStub) -> None:
    create(*WEEKLY)
    status, _, err = create("--every", "1d", "--seed", "5")
    assert status == 2
    made = only(server.state.schedules)
    assert f"there is a schedule 'weekly' already (cron 0 0 3 * * mon (UTC), id {made['recurring_run_id']})" in err
    assert len(server.state.versions) == 1


def test_all_pages_of_schedules_are_listed(advantageflow: Command, create: Command, server: KfpStub) -> None:
    assert "no schedules" in advantageflow("schedule", "list", "--host", server.url)[1]
    create("--every", "6h", name="weekly")
    for number in range(11):
        server.state.create_recurring_run({**only_body(server), "display_name": f"s{number:02}"})
    status, out, _ = advantageflow("schedule", "list", "--host", server.url)
    assert status == 0
    assert re.findall(r"s\d\d", out) == [f"s{number:02}" for number in range(11)]
    assert "every 6h" in out
    assert "left out" in out


def test_schedules_of_a_live_server_are_listed_as_they_are(advantageflow: Command, server: KfpStub) -> None:
    for one in json.loads((RECORDINGS / "recurring-runs.json").read_text())["recurringRuns"]:
        server.state.schedules[one["recurring_run_id"]] = one
    out = advantageflow("schedule", "list", "--host", server.url)[1]
    assert re.search(r"every-min .* cron 0 \* \* \* \* \* \(UTC\) .* paused .* 1 .* left out", out)
    assert re.search(r"catch .* every 1m .* paused .* 2 .* made up for", out)


def test_pause_resume_and_delete_by_name_or_id(advantageflow: Command, create: Command, server: KfpStub) -> None:
    create(*WEEKLY)
    made = only(server.state.schedules)
    host = ("--host", server.url)
    status, out, _ = advantageflow("schedule", "pause", "weekly", *host)
    assert (status, made["status"]) == (0, "DISABLED")
    assert "schedule resume" in out
    assert "paused" in advantageflow("schedule", "list", *host)[1]
    assert advantageflow("schedule", "resume", made["recurring_run_id"], *host)[0] == 0
    assert made["status"] == "ENABLED"
    assert advantageflow("schedule", "delete", "weekly", *host)[0] == 0
    assert not server.state.schedules


def test_a_schedule_that_is_not_there_is_said(advantageflow: Command, server: KfpStub) -> None:
    status, _, err = advantageflow("schedule", "pause", "nightly retraining", "--host", server.url)
    assert status == 2
    assert "the server has no schedule 'nightly retraining'" in err
    assert "advantageflow schedule list" in err


def test_an_ambiguous_name_lists_the_ids_and_changes_nothing(
    advantageflow: Command, create: Command, server: KfpStub
) -> None:
    create(*WEEKLY)
    server.state.create_recurring_run(only_body(server))  # as made in Kubeflow's pages
    status, _, err = advantageflow("schedule", "delete", "weekly", "--host", server.url)
    assert status == 2
    assert all(one in err for one in server.state.schedules)
    assert len(server.state.schedules) == 2


def test_schedules_of_a_server_with_several_users_are_those_of_the_namespace(
    advantageflow: Command, shared_server: KfpStub
) -> None:
    host = ("--host", shared_server.url, "--namespace", "team-a")
    assert advantageflow(*CREATE, *host, "--name", "weekly", *WEEKLY)[0] == 0
    assert advantageflow("schedule", "list", *host)[0] == 0
    assert [one["namespace"] for one in shared_server.state.pipelines.values()] == ["team-a"]
    lists = shared_server.bodies("recurring_run_service_list_recurring_runs")
    assert {asked["namespace"] for asked in lists} == {"team-a"}


def only_body(server: KfpStub) -> dict[str, Any]:
    """What the one schedule was made with."""
    body: dict[str, Any] = server.bodies("recurring_run_service_create_recurring_run")[0]["body"]
    return body


def test_spaces_do_not_matter() -> None:
    assert str(by_cron("  0  0 3 * *   1 ")) == "cron 0 0 3 * * 1 (UTC)"


@pytest.mark.parametrize(
    ("expression", "words", "remedy"),
    [
        ("0 3 * * 1", "five fields", "'0 0 3 * * 1'"),
        ("", "0 fields", "second minute"),
        ("@daily", "1 fields", "second minute"),
        ("0 0 0 0 0 0 0", "7 fields", "second minute"),
    ],
)
def test_another_number_of_fields_is_refused(expression: str, words: str, remedy: str) -> None:
    with pytest.raises(SettingsError, match="--cron") as raised:
        by_cron(expression)
    assert words in str(raised.value)
    assert remedy in raised.value.remedy


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("90m", 5400), ("6h", 21_600), ("7d", 604_800)])
def test_an_interval_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert by_interval(text) == When(seconds=seconds)
    assert str(by_interval(text)) == f"every {text}"


@pytest.mark.parametrize("text", ["", "6", "h", "0h", "-1h", "1.5h", "1w", "1h30m"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not an interval"):
        by_interval(text)
