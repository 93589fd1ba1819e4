"""Text rendering: how much of the text that a prompt asks for can be read in the picture."""

import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from advantageflow.annotations import RapidOCR
from advantageflow.errors import DataError, RewardError
from advantageflow.records import Prompt
from advantageflow.rewards.base import Result

_QUOTED = re.compile(r'"([^"]*)"')
_PACKAGES = ("rapidocr", "onnxruntime", "rapidfuzz")
_INSTALL = "install them: pip install 'advantageflow[ocr]'"


class OcrReward:
    """How well the picture shows the quoted text of its prompt: 1 if it can be read, else by edit distance.

    Follows the OCR reward of Flow-GRPO (arXiv 2505.05470), with RapidOCR in place of PaddleOCR. The target is the
    spec's `text`, or the prompt's first double-quoted span. All recognised text is joined from top to bottom; white
    space and case do not count, and text that is upside down is not turned. Where the target is a part of it, the
    score is 1, else 1 - min(d, n) / n with the Levenshtein distance d and the target's length n. A picture without
    text scores 0.

    Args:
        device: where the recogniser runs; 'cuda' needs the package onnxruntime-gpu.
        threads: CPU threads of the recogniser, for one picture after the other.
    """

    name = "ocr"
    columns: ClassVar[Mapping[str, tuple[float, float]]] = {"accuracy": (0.0, 1.0)}
    higher_is_better = True

    def __init__(self, *, device: Literal["cpu", "cuda"] = "cpu", threads: int = 1) -> None:
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise RewardError(f"needs {', '.join(missing)}", where="reward 'ocr'", remedy=_INSTALL)
        self._device, self._threads = device, threads

    @cached_property
    def version(self) -> str:
        """Code version, the libraries, and a hash of the models inside RapidOCR's wheel."""
        digest = hashlib.sha256()
        for file in _model_files():
            digest.update(file.read_bytes())
        libraries = ", ".join(f"{name} {version(name)}" for name in ("rapidocr", "rapidfuzz"))
        return f"1 ({libraries}, models {digest.hexdigest()[:12]})"

    def check(self, prompt: Prompt) -> None:
        """Raises DataError, naming the prompt, if neither its spec nor a quoted span says what is to be read."""
        target(prompt)

    def score(self, prompts: Sequence[Prompt], images: Sequence[np.ndarray]) -> list[Result]:
        """Read each picture; details hold what was read, line by line, and what should have been."""
        results: list[Result] = []
        for prompt, image in zip(prompts, images, strict=True):
            wanted = target(prompt)
            lines = self._read(image)
            results.append(({"accuracy": accuracy(wanted, "".join(lines))}, {"read": lines, "target": wanted}))
        return results

    def _read(self, image: np.ndarray) -> list[str]:
        """The lines of text in an RGB image (H, W, 3) of uint8, from top to bottom."""
        output = self._engine(image[:, :, ::-1])  # RapidOCR takes OpenCV's order of channels
        return [str(line) for line in getattr(output, "txts", None) or ()]

    @cached_property
    def _engine(self) -> RapidOCR:
        import onnxruntime
        from rapidocr import RapidOCR

        cuda = self._device == "cuda"
        if cuda and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            remedy = "install onnxruntime-gpu on a machine with a GPU, or set the option device to cpu"
            raise RewardError("there is no GPU for the recogniser", where="reward 'ocr'", remedy=remedy)
        engine: dict[str, Any] = {"use_cuda": cuda, "intra_op_num_threads": self._threads, "inter_op_num_threads": 1}
        general = {"use_cls": False, "log_level": "error"}  # a picture without text is not worth a warning
        return RapidOCR(
            params={f"EngineConfig.onnxruntime.{name}": value for name, value in engine.items()}
            | {f"Global.{name}": value for name, value in general.items()}
        )


def target(prompt: Prompt) -> str:
    """The text that a picture should show, as it is compared: without white space, in lower case.
    Raises DataError: the spec's `text` is not a text, or there is none and no span in double quotes; names the prompt.
    """
    where = f"prompt '{prompt.text}'"
    if "text" in prompt.spec:
        text = prompt.spec["text"]
        if not isinstance(text, str) or not _plain(text):
            remedy = "give the text that the picture should show"
            raise DataError(f"'text' is {text!r}", where=f"{where}, spec text", remedy=remedy)
        return _plain(text)
    spans = _QUOTED.findall(prompt.text)
    if not spans or not _plain(spans[0]):
        remedy = 'put the text to be rendered into straight double quotes, or into the spec: {"text": ...}'
        raise DataError("the prompt quotes no text that could be read", where=where, remedy=remedy)
    return _plain(spans[0])


def accuracy(wanted: str, read: str) -> float:
    """1 if `wanted` (not empty) is a part of what was read, else 1 - min(Levenshtein distance, n) / n, in [0, 1]."""
    from rapidfuzz.distance import Levenshtein

    read = _plain(read)
    if wanted in read:
        return 1.0
    return 1 - min(Levenshtein.distance(wanted, read), len(wanted)) / len(wanted)


def _plain(text: str) -> str:
    return "".join(text.split()).lower()


def _model_files() -> list[Path]:
    """The detection and recognition models that RapidOCR brings."""
    spec = importlib.util.find_spec("rapidocr")
    folder = Path(spec.origin).parent / "models" if spec and spec.origin else Path()
    files = sorted(file for kind in ("det", "rec") for file in folder.glob(f"*_{kind}_*.onnx"))
    if not files:
        raise RewardError("RapidOCR brings no models", where=str(folder), remedy="install rapidocr 3.10 or later")
    return files
