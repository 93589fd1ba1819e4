"""A registered policy, as MLflow loads one: texts in, pictures out.

    mlflow.pyfunc.load_model("models:/NAME@champion").predict(["a red circle"], params={"seed": 7})

gives a PNG file in base64 for each text, and `mlflow models serve` answers

    {"inputs": ["a red circle"], "params": {"seed": 7}}

Text number i is drawn from the noise of seed + i. It runs where advantageflow and the model's packages are installed.
"""

import base64
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from advantageflow.errors import DataError
from advantageflow.policy.generate import draw_texts, load_generator
from advantageflow.records import ADAPTER_FOLDER
from advantageflow.settings import EvaluationSettings, ModelSettings

logger = logging.getLogger(__name__)


def _load_pyfunc(path: str, config: Mapping[str, Any]) -> "ServedPolicy":
    """What MLflow calls, with the policy's folder and the settings of the base model and of evaluations."""
    return ServedPolicy(Path(path), **config)


class ServedPolicy:
    """A policy with its base model, loaded once; on the CPU where there is no GPU for one trained on it."""

    def __init__(self, policy: Path, model: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        self._model = ModelSettings.model_validate(model)
        if self._model.device == "cuda" and not torch.cuda.is_available():
            logger.warning("there is no GPU here: pictures are made on the CPU")
            self._model = self._model.model_copy(update={"device": "cpu"})
        self._sampling = EvaluationSettings.model_validate(evaluation)
        self._policy = policy
        self._generator = load_generator(self._model, policy, ADAPTER_FOLDER, self._sampling.threads)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[str]:
        """A PNG file in base64 for each text.
        Raises DataError: an input is not a text.
        """
        given = dict(params or {})
        seed = int(given.pop("seed", 0))
        kinds = {"steps": int, "guidance_scale": float}  # of numpy's, as MLflow may give them
        asked = {name: kinds[name](value) for name, value in given.items()}
        sampling = EvaluationSettings.model_validate(self._sampling.model_dump() | asked)
        texts = list(model_input.iloc[:, 0] if hasattr(model_input, "iloc") else model_input)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError("not a text", where=f"input {number}", remedy="give a text for each picture")
        seeds = [seed + number for number in range(len(texts))]
        pictures = []
        for picture in draw_texts(self._model, self._policy, texts, seeds, sampling, self._generator):
            content = io.BytesIO()
            Image.fromarray(picture).save(content, format="PNG")
            pictures.append(base64.b64encode(content.getvalue()).decode("ascii"))
        return pictures
