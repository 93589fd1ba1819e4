"""The code of a registered policy, which MLflow runs wherever one is loaded: texts in, pictures out.

    mlflow.pyfunc.load_model("models:/NAME@champion").predict(["a red circle"], params={"seed": 7})

gives a PNG file in base64 for each text, and `mlflow models serve` answers

    {"inputs": ["a red circle"], "params": {"seed": 7}}

Text number i is drawn from the noise of seed + i. It runs where advantageflow and the model's packages are installed.
"""

import base64
import io
import logging
import warnings
from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

logger = logging.getLogger(__name__)


with warnings.catch_warnings(record=True):  # MLflow asks for type hints as the class is made, past any filter

    class ServedPolicy(PythonModel):
        """A policy with its base model, loaded once."""

        def load_context(self, context: Any) -> None:
            """Load the policy of the version's files; on the CPU where there is no GPU for one trained on it."""
            import torch

            from advantageflow.policy.generate import load_generator
            from advantageflow.records import ADAPTER_FOLDER
            from advantageflow.settings import EvaluationSettings, ModelSettings

            config = context.model_config
            self._model = ModelSettings.model_validate(config["model"])
            if self._model.device == "cuda" and not torch.cuda.is_available():
                logger.warning("there is no GPU here: pictures are made on the CPU")
                self._model = self._model.model_copy(update={"device": "cpu"})
            self._sampling = EvaluationSettings.model_validate(config["evaluation"])
            self._policy = Path(context.artifacts["policy"])
            self._generator = load_generator(self._model, self._policy, ADAPTER_FOLDER, self._sampling.threads)

        # Type hints would replace the signature that the version has, and drop its parameters.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            """A PNG file in base64 for each text."""
            from PIL import Image

            from advantageflow.errors import DataError
            from advantageflow.policy.generate import draw_texts
            from advantageflow.settings import EvaluationSettings

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


set_model(ServedPolicy())
