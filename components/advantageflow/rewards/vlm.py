"""A vision-language model as judge, over any OpenAI-compatible endpoint."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from advantageflow.errors import RewardError, SettingsError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, SampleError
from advantageflow.rewards.chat import ChatEndpoint

if TYPE_CHECKING:
    import numpy as np

HIGHEST = 10  # of the judge's scale, whose steps are whole numbers
PLACEHOLDER = "{prompt}"
TEMPLATE = """You judge a picture that an image generator made for this request:

{prompt}

Compare the picture with the request: the objects that are asked for and how many there are, their colours and other
attributes, where they stand, what is written, the style. Then judge how well the picture is made. First say in one or
two sentences what is right and what is wrong. Then give a score from 0 (has nothing to do with the request) over 5
(half of it is right) to 10 (all of it is right, and well made)."""
_REPLY = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},  # first, so that the judge thinks before it scores
        "score": {"type": "integer", "enum": list(range(HIGHEST + 1))},
    },
    "required": ["reason", "score"],
    "additionalProperties": False,
}


class VlmReward:
    """A judge's score of how well the picture shows its prompt: 0 to 10, divided by 10.

    The judge answers by a JSON schema (`response_format`), which the endpoint must support. An answer that is not such
    object is an error. Scores repeat as far as the endpoint's do at temperature 0 and a fixed seed.

    Args:
        base_url: address of the API, such as 'http://localhost:8000/v1'.
        model: the judge, as the endpoint calls it.
        api_key_env: environment variable that holds the API key; None sends no key.
        template: what the judge is told; {prompt} stands for the prompt.
        temperature: of the judge's answers; None leaves it to the endpoint, for models that take none.
        concurrency: most requests at a time.
        timeout: seconds for one answer.
        retries: how often a request is repeated after status 429 or 5xx, a failure on the way, or a timeout.
        backoff: seconds before the second repetition, doubled for each further one.
    """

    name = "vlm"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (0.0, 1.0)}
    higher_is_better = True

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key_env: str | None = None,
        template: str = TEMPLATE,
        temperature: float | None = 0.0,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 5,
        backoff: float = 2.0,
    ) -> None:
        if PLACEHOLDER not in template:
            message = f"the judge's template has no place for the prompt: {template!r}"
            raise SettingsError(message, where="option template", remedy=f"write {PLACEHOLDER} where it belongs")
        if not base_url.startswith(("http://", "https://")):
            remedy = "give an address such as http://localhost:8000/v1"
            raise SettingsError(f"'{base_url}' is not the address of an API", where="option base_url", remedy=remedy)
        if concurrency < 1 or retries < 0 or timeout <= 0 or backoff < 0:
            remedy = "give concurrency of at least 1, timeout above 0, retries and backoff of at least 0"
            raise SettingsError("the limits of the judge's endpoint are out of range", where="options", remedy=remedy)
        self._model, self._template, self._temperature = model, template, temperature
        self._concurrency = concurrency
        self._endpoint = ChatEndpoint(
            base_url, api_key_env, connections=concurrency, timeout=timeout, retries=retries, backoff=backoff
        )

    @property
    def version(self) -> str:
        """Code version, the judge, and a hash of what it is told."""
        told = hashlib.sha256(self._template.encode()).hexdigest()[:12]
        return f"1 (model {self._model}, template {told})"

    def check(self, prompt: Prompt) -> None:
        """Any prompt will do."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Ask the judge about each picture, some at a time; details hold its reason.

        Raises:
            SampleError: no answer after all retries, or one that cannot be read.
        """
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="judge") as pool:
            asked = [pool.submit(self._judge, p.text, i) for p, i in zip(prompts, images, strict=True)]
            try:
                return [_answer(number, future) for number, future in enumerate(asked)]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # what is not asked yet need not be
                raise

    def _judge(self, prompt: str, image: np.ndarray) -> Result:
        return _verdict(self._endpoint.ask(self._request(prompt, image)))

    def _request(self, prompt: str, image: np.ndarray) -> dict[str, Any]:
        content = [
            {"type": "text", "text": self._template.replace(PLACEHOLDER, prompt)},
            {"type": "image_url", "image_url": {"url": _data_url(image)}},
        ]
        schema = {"name": "verdict", "strict": True, "schema": _REPLY}
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "response_format": {"type": "json_schema", "json_schema": schema},
            "seed": 0,
        } | ({} if self._temperature is None else {"temperature": self._temperature})


def _answer(number: int, future: Future[Result]) -> Result:
    try:
        return future.result()
    except RewardError as error:
        raise SampleError(error.message, where=error.where, remedy=error.remedy, sample=number) from error


def _verdict(text: str) -> Result:
    """The judge's score and reason.

    Raises:
        RewardError: the text is not the JSON object that was asked for.
    """
    try:
        reply = json.loads(text)
        score, reason = reply["score"], str(reply["reason"])
    except (ValueError, LookupError, TypeError) as error:
        raise _unreadable(text) from error
    if isinstance(score, bool) or not isinstance(score, int) or not 0 <= score <= HIGHEST:
        raise _unreadable(text)
    return {"score": score / HIGHEST}, {"reason": reason}


def _unreadable(text: str) -> RewardError:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    remedy = "use an endpoint and a model that keep to response_format json_schema"
    message = f'the judge did not answer {{"reason": text, "score": 0 .. {HIGHEST}}}, but {shown!r}'
    return RewardError(message, remedy=remedy)


def _data_url(image: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
