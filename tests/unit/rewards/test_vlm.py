"""The judge against a real HTTP server: what it is asked, with which key, and what becomes of its answers."""

from __future__ import annotations

import base64
import io
import logging
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image
from vlm_judge import Judge, completion, failure, reward, said, scores

from advantageflow.errors import SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.plumbing.registry import get_reward

KEY = "sk-very-secret"


def test_the_judge_sees_prompt_and_picture_and_its_score_is_a_tenth(judge: Judge) -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    result = reward(judge).score([Prompt("a {red} circle", "train", "t")], [image])
    assert result == [({"score": 0.7}, {"reason": "it is red"})]
    (request,) = judge.requests
    assert (request["path"], request["model"], request["temperature"]) == ("/v1/chat/completions", "judge-1", 0.0)
    assert request["response_format"]["json_schema"]["schema"]["required"] == ["reason", "score"]
    text, picture = request["messages"][0]["content"]
    assert "a {red} circle" in text["text"]
    png = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), image)


def test_answers_are_given_to_the_pictures_that_they_are_about_whatever_their_order(judge: Judge) -> None:
    def later_ones_first(number: int, request: dict[str, Any]) -> tuple[int, str]:
        place = int(request["messages"][0]["content"][0]["text"].split("\n\npicture ")[1].split()[0])
        time.sleep(0.02 * (6 - place))
        return 200, completion(place)

    judge.reply = later_ones_first
    assert scores(judge, 6) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_no_more_requests_at_a_time_than_allowed(judge: Judge) -> None:
    def slow(number: int, request: dict[str, Any]) -> tuple[int, str]:
        time.sleep(0.03)
        return 200, completion(1)

    judge.reply = slow
    assert len(scores(judge, 8, concurrency=3)) == 8
    assert judge.most_active == 3


def test_the_api_key_comes_from_the_environment_and_is_shown_nowhere(
    judge: Judge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", KEY)
    assert scores(judge, api_key_env="JUDGE_KEY") == [0.7]
    assert judge.authorizations == [f"Bearer {KEY}"]
    judge.reply = lambda number, request: (401, f"bad key {KEY}")  # some servers repeat it
    refused = failure(judge, api_key_env="JUDGE_KEY")
    judge.reply = lambda number, request: (200, said(f"your key is {KEY}"))
    unreadable = failure(judge, api_key_env="JUDGE_KEY")
    assert "bad key ***" in refused.message
    assert KEY not in f"{refused}{unreadable}{caplog.text}{reward(judge, api_key_env='JUDGE_KEY').version}"


def test_without_a_named_key_none_is_sent_and_a_missing_one_is_an_error(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    scores(judge)
    monkeypatch.setenv("JUDGE_KEY", "Basic me:secret")
    scores(judge, api_key_env="JUDGE_KEY")
    assert judge.authorizations == [None, "Basic bWU6c2VjcmV0"]
    judge.reply = lambda number, request: (401, "not secret, nor bWU6c2VjcmV0")
    assert "status 401: not ***, nor ***" in failure(judge, api_key_env="JUDGE_KEY").message
    for wrong in (None, "two\nlines", "sécret"):
        monkeypatch.delenv("JUDGE_KEY") if wrong is None else monkeypatch.setenv("JUDGE_KEY", wrong)
        error = failure(judge, api_key_env="JUDGE_KEY")
        assert "environment variable JUDGE_KEY" in error.where
        assert wrong is None or wrong not in str(error)
    assert len(judge.requests) == 3


def test_the_version_changes_with_the_model_and_with_what_it_is_told(judge: Judge) -> None:
    versions = [
        reward(judge).version,
        reward(judge, model="judge-2").version,
        reward(judge, template="Rate {prompt}").version,
    ]
    assert "model judge-1" in versions[0]
    assert len(set(versions)) == 3
    assert reward(judge, timeout=5.0).version == versions[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"template": "Rate it"}, "does not fit the option 'template'"),
        ({"base_url": "localhost:8000"}, "does not fit the option 'base_url'"),
        ({"concurrency": 0}, "greater than or equal to 1"),
        ({"retries": "many"}, "does not fit the option 'retries'"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(judge: Judge, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        reward(judge, **options)
    with pytest.raises(SettingsError, match="needs the option 'base_url'"):
        get_reward("vlm")
