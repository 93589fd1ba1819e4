"""The judge against a real HTTP server: what it is asked, and what happens when it fails, stalls or talks nonsense."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from advantageflow.errors import RewardError, SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Reward
from advantageflow.rewards.plumbing.checks import score_images
from advantageflow.rewards.plumbing.registry import get_reward

KEY = "sk-very-secret"


@dataclass
class Judge:
    """A local endpoint. `reply` says what the request of this number (from 0) gets: a status and a body."""

    url: str = ""
    reply: Callable[[int, dict[str, Any]], tuple[int, str]] = lambda number, request: (200, completion(7))
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    active: int = 0
    most_active: int = 0
    lock: Any = field(default_factory=threading.Lock)


def completion(score: Any, reason: str = "it is red") -> str:
    return said(json.dumps({"reason": reason, "score": score}))


def said(text: str | None, **more: Any) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text, **more}}]})


@pytest.fixture
def judge() -> Iterator[Judge]:
    state = Judge()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                number = len(state.requests)
                state.requests.append({"path": self.path, **request})
                state.authorizations.append(self.headers.get("Authorization"))
                state.times.append(time.monotonic())
                state.active += 1
                state.most_active = max(state.most_active, state.active)
            status, body = state.reply(number, request)
            with state.lock:
                state.active -= 1
            try:
                self.send_response(status)
                for name, value in state.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has given up waiting

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield state
    server.shutdown()
    server.server_close()


def reward(judge: Judge, **options: Any) -> Reward:
    return get_reward("vlm", {"base_url": judge.url, "model": "judge-1", "backoff": 0.01, **options})


def scores(judge: Judge, count: int = 1, **options: Any) -> list[float]:
    prompts = [Prompt(f"picture {number}", "train", "t") for number in range(count)]
    images = [np.full((4, 4, 3), number, np.uint8) for number in range(count)]
    samples = [f"1-aa-{number}" for number in range(count)]
    return [values["score"] for values, _ in score_images(reward(judge, **options), prompts, images, samples)]


def failure(judge: Judge, count: int = 1, **options: Any) -> RewardError:
    with pytest.raises(RewardError) as caught:
        scores(judge, count, **options)
    return caught.value


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


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_passing_failure_is_asked_again(judge: Judge, status: int) -> None:
    judge.reply = lambda number, request: (status, "later") if number < 2 else (200, completion(10))
    assert scores(judge) == [1.0]
    assert len(judge.requests) == 3


def test_the_server_says_how_long_to_wait(judge: Judge) -> None:
    judge.headers["Retry-After"] = "1"
    judge.reply = lambda number, request: (429, "slow down") if number == 0 else (200, completion(3))
    assert scores(judge) == [0.3]
    assert judge.times[1] - judge.times[0] >= 1


def test_a_server_that_never_recovers_is_given_up_and_the_sample_is_named(judge: Judge) -> None:
    judge.reply = lambda number, request: (500, "out of memory")
    error = failure(judge, retries=3)
    assert "status 500 after 4 attempts: out of memory" in error.message
    assert "sample 1-aa-0 ('picture 0')" in error.where
    assert len(judge.requests) == 4


def _trickle(*, head: bool) -> Callable[[socket.socket], None]:
    """Sends an answer a byte at a time, head or body, for ten seconds."""

    def send(connection: socket.socket) -> None:
        body = completion(7).encode()
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        whole, slow = (b"", whole) if head else (whole, body)
        connection.sendall(whole)
        for number in range(100):
            connection.sendall(slow[number : number + 1])
            time.sleep(0.1)

    return send


BOMB = gzip.compress(b" " * 8_000_000, 1)


def _endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" " * 1_000_000)


def _bomb(connection: socket.socket) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)
    connection.sendall(head + BOMB)


def _deep(connection: socket.socket) -> None:
    body = completion(7).replace('"it is red', '"' + "[" * 100_000).encode()
    body = b"[" * 100_000 + body
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_trickle(head=True), "no answer after 2 attempts"),
        (_trickle(head=False), "no answer after 2 attempts.*not complete within 0.5 s"),
        (_endless, "larger than 4,000,000 bytes"),
        (_bomb, "larger than 4,000,000 bytes"),
        (_deep, "not a chat completion"),
    ],
    ids=["slow head", "slow body", "endless", "bomb", "deep"],
)
def test_a_reply_without_bounds_is_cut(answer: Callable[[socket.socket], None], words: str) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(65_536)
                answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        state, started = Judge(f"http://127.0.0.1:{server.server_address[1]}/v1"), time.monotonic()
        with pytest.raises(RewardError, match=words):
            scores(state, timeout=0.5, retries=1)
        assert time.monotonic() - started < 5
        server.shutdown()


def test_a_slow_answer_times_out_and_is_asked_again(judge: Judge) -> None:
    def stalls_once(number: int, request: dict[str, Any]) -> tuple[int, str]:
        if number == 0:
            time.sleep(0.5)
        return 200, completion(5)

    judge.reply = stalls_once
    assert scores(judge, timeout=0.2) == [0.5]
    assert len(judge.requests) == 2


def test_a_server_that_is_not_there_is_an_error(judge: Judge) -> None:
    error = failure(judge, base_url="http://127.0.0.1:9", retries=1)
    assert "no answer after 2 attempts" in error.message
    assert "check that the server is up" in error.remedy


@pytest.mark.parametrize(
    "body",
    [
        said("The picture is nice, 8 of 10."),
        said('{"score": 8'),
        said('{"reason": "good"}'),
        said("[8]"),
        completion(11),
        completion(-1),
        completion(7.5),
        completion(True),
        completion("8"),
        completion(None),
        said(None, refusal="I cannot judge this"),
        "<html>hello</html>",
        "{}",
    ],
)
def test_an_answer_that_cannot_be_read_is_an_error_that_names_the_sample_and_asks_no_other_again(
    judge: Judge, body: str
) -> None:
    judge.reply = lambda number, request: (200, body if "picture 2" in str(request) else completion(7))
    error = failure(judge, 3)
    assert "sample 1-aa-2 ('picture 2')" in error.where
    assert error.remedy
    assert len(judge.requests) == 3


@pytest.mark.parametrize(("status", "remedy"), [(401, "api_key_env"), (404, "base_url"), (400, "what the server says")])
def test_a_refusal_is_not_asked_again_and_says_what_to_do(judge: Judge, status: int, remedy: str) -> None:
    judge.reply = lambda number, request: (status, "no")
    assert remedy in failure(judge).remedy
    assert len(judge.requests) == 1


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
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    error = failure(judge, api_key_env="JUDGE_KEY")
    assert "environment variable JUDGE_KEY" in error.where
    assert len(judge.requests) == 2


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
