"""A judge that fails, stalls, talks nonsense or never ends: asked again, cut off or an error."""

from __future__ import annotations

import contextlib
import gzip
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vlm_judge import Judge, completion, failure, reward, said, scores

from advantageflow.errors import RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import RewardStopped
from advantageflow.rewards.plumbing.checks import score_each

pytestmark = pytest.mark.fault


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


def _headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"A: b\r\n")
        time.sleep(0.1)


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
        (_trickle(head=True), "no answer after 2 attempts.*Read timed out"),
        (_headers, "no answer after 2 attempts.*Read timed out"),
        (_trickle(head=False), "no answer after 2 attempts.*not complete within 0.5 s"),
        (_endless, "larger than 4,000,000 bytes"),
        (_bomb, "larger than 4,000,000 bytes"),
        (_deep, "not a chat completion"),
    ],
    ids=["slow head", "endless head", "slow body", "endless", "bomb", "deep"],
)
def test_a_reply_without_bounds_is_cut(answer: Callable[[socket.socket], None], words: str) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                received = b""
                while not received.endswith(b"}"):  # what is left unread would make the end of the answer a reset
                    received += self.request.recv(65_536)
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


def test_where_images_may_be_left_out_each_is_asked_about_once_and_a_judge_that_is_gone_ends_it(judge: Judge) -> None:
    judge.reply = lambda number, request: (200, "{}" if "picture 1" in str(request) else completion(7))
    prompts, image = [Prompt(f"picture {n}", "train", "t") for n in range(3)], np.zeros((4, 4, 3), np.uint8)
    results = score_each(reward(judge), prompts, [image] * 3, ["a", "b", "c"])
    assert [isinstance(one, RewardError) for one in results] == [False, True, False]
    assert "sample b ('picture 1')" in str(results[1])
    assert len(judge.requests) == 3
    with pytest.raises(RewardStopped, match=r"reward 'vlm', http.*no answer after 1 attempts"):
        score_each(reward(judge, base_url="http://127.0.0.1:9", retries=0), prompts, [image] * 3, ["a", "b", "c"])
