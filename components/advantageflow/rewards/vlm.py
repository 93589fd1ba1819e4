"""A vision-language model as judge, over any OpenAI-compatible endpoint."""

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from advantageflow.errors import RewardError
from advantageflow.json_text import parse_json
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result, RewardStopped
from advantageflow.rewards.chat import ChatEndpoint

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


class VlmReward(ChatEndpoint):
    """A judge's score of how well the picture shows its prompt: 0 to 10, divided by 10.

    The judge answers by a JSON schema (`response_format`), which the endpoint must support. An answer that is not such
    object is an error. Scores repeat as far as the endpoint's do at temperature 0 and a fixed seed.

    Attributes:
        base_url: address of the API, such as 'http://localhost:8000/v1'.
        model: the judge, as the endpoint calls it.
        api_key_env: environment variable that holds the API key, or 'Basic user:password'; None sends no key.
        template: what the judge is told; {prompt} stands for the prompt.
        temperature: of the judge's answers; None leaves it to the endpoint, for models that take none.
        concurrency: most requests at a time.
        timeout: seconds for one answer.
        retries: how often a request is repeated after status 429 or 5xx, a failure on the way, or a timeout.
        backoff: seconds before the second repetition, doubled for each further one.
    """

    name: ClassVar[str] = "vlm"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"score": (0.0, 1.0)}
    higher_is_better: ClassVar[bool] = True

    template: Annotated[str, Field(pattern=re.escape(PLACEHOLDER))] = TEMPLATE
    temperature: float | None = 0.0

    @property
    def version(self) -> str:
        """Code version, the judge, and a hash of what it is told."""
        told = hashlib.sha256(self.template.encode()).hexdigest()[:12]
        return f"1 (model {self.model}, template {told})"

    def check(self, prompt: Prompt) -> None:
        """Any prompt will do."""

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """As `score_each`, where no picture has an error."""
        results: list[Result] = []
        for result in self.score_each(prompts, images):
            if isinstance(result, RewardError):
                raise result
            results.append(result)
        return results

    def score_each(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> Iterator[Result | RewardError]:
        """Ask the judge about each picture, some at a time; details hold its reason. In place of a result, the error of
        an answer that cannot be read, or of a refusal. Raises RewardStopped: no answer after all retries.
        """

        def ask(prompt: Prompt, image: np.ndarray) -> Result | RewardError:
            try:
                return _verdict(self.ask(self._request(prompt.text, image)))
            except RewardStopped as error:
                where = f"reward '{self.name}', {error.where}"
                raise RewardStopped(error.message, where=where, remedy=error.remedy) from error
            except RewardError as error:
                return error

        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="judge") as pool:
            asked = [pool.submit(ask, *one) for one in zip(prompts, images, strict=True)]
            try:
                for future in asked:
                    yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # what is not asked yet need not be

    def _request(self, prompt: str, image: np.ndarray) -> dict[str, Any]:
        content = [
            {"type": "text", "text": self.template.replace(PLACEHOLDER, prompt)},
            {"type": "image_url", "image_url": {"url": _data_url(image)}},
        ]
        schema = {"name": "verdict", "strict": True, "schema": _REPLY}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "response_format": {"type": "json_schema", "json_schema": schema},
            "seed": 0,
        } | ({} if self.temperature is None else {"temperature": self.temperature})


def _verdict(text: str) -> Result:
    """The judge's score and reason.

    Raises:
        RewardError: the text is not the JSON object that was asked for.
    """
    try:
        reply = parse_json(text)
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
