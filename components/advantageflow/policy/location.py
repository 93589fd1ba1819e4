"""Where a model is (embedded, a folder, S3, the hub), and one clear message with the remedy when it is not there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advantageflow.errors import PolicyError
from advantageflow.settings import ModelSettings
from advantageflow.store.files import read_json
from advantageflow.store.s3 import cache_folder, fetch_file, fetch_folder, is_s3

EMBEDDED_MODEL = Path(__file__).parent.parent / "shapes" / "model"
INDEX = "model_index.json"
_PIPELINE = "name the diffusers version of the model, such as stabilityai/stable-diffusion-3.5-medium"
_INCOMPLETE = "get the model again, whole, as a diffusers pipeline; or check model.name and model.revision"
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN (on a cluster, the secret that holds it)"


def model_location(model: ModelSettings) -> str:
    """The embedded model's folder, a local folder, or the s3:// prefix or hub id as given; contacts nobody.
    Raises PolicyError: the name is a folder that does not exist, or has no diffusers pipeline in it.
    """
    if model.name == "shapes":
        if not (EMBEDDED_MODEL / INDEX).exists():
            where = str(EMBEDDED_MODEL)
            raise PolicyError("the embedded model is not installed", where=where, remedy="reinstall the package")
        return str(EMBEDDED_MODEL)
    if is_s3(model.name):
        return model.name.rstrip("/")
    folder = Path(model.name)
    if folder.exists() and not (folder / INDEX).exists():
        message = "the folder holds no diffusers pipeline (no model_index.json)"
        remedy = "name a folder written by save_pretrained, or a hub id"
        raise PolicyError(message, where=str(folder), remedy=remedy)
    if not folder.exists() and model.name.startswith((".", "/", "~")):
        remedy = "give a folder that diffusers' save_pretrained wrote, an s3:// prefix, a hub id, or 'shapes'"
        raise PolicyError("there is no such folder", where=f"model.name: {model.name}", remedy=remedy)
    return model.name


def part_location(model: ModelSettings, part: str) -> tuple[str, dict[str, str]]:
    """What `from_pretrained` takes to load one part: a place, and subfolder and revision where there are some.

    Of an s3:// model only this part is fetched, into the cache folder. A part is a folder of the pipeline, such as
    'transformer'.

    Raises:
        PolicyError: as `model_location`; or a local folder lacks the part.
        StoreError: S3 refuses, or lacks the part.
    """
    place = model_location(model)
    if is_s3(place):
        return str(fetch_folder(f"{place}/{part}", cache_folder())), {}
    folder = Path(place)
    if folder.exists() and not (folder / part).is_dir():  # of a tokenizer, transformers would make one of nothing
        raise PolicyError("the model is incomplete: folder not found", where=str(folder / part), remedy=_INCOMPLETE)
    return place, {"subfolder": part} | ({"revision": model.revision} if model.revision else {})


def read_file(model: ModelSettings, path: str) -> dict[str, Any]:
    """A JSON file of the model, such as model_index.json or transformer/config.json, without any weights.

    Raises:
        PolicyError: the model is gated, is not there, cannot be reached, or lacks the file; says which.
        StoreError: S3 refuses, or the file is not JSON.
    """
    place = model_location(model)
    if is_s3(place):
        return read_json(fetch_file(f"{place}/{path}", cache_folder()))
    folder = Path(place)
    if folder.exists():
        if not (folder / path).exists():
            raise PolicyError("the model is incomplete: file not found", where=str(folder / path), remedy=_INCOMPLETE)
        return read_json(folder / path)
    from huggingface_hub import hf_hub_download

    try:
        return read_json(Path(hf_hub_download(place, path, revision=model.revision)))
    except (OSError, ValueError) as error:
        raise unloadable(model, path, error) from error


def encoder_class(index: Mapping[str, Any], part: str) -> str | None:
    """The transformers class that model_index.json names for a part, or None where the part is absent."""
    match index.get(part):
        case ["transformers", str(name)]:
            return name
    return None


def unloadable(model: ModelSettings, part: str, error: Exception) -> PolicyError:
    """The one message for a model, or a part of it, that cannot be loaded.

    Args:
        part: what was being loaded.
        error: what diffusers, transformers or the hub's client raised, which may have the reason as its cause.
    """
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    for one in reversed(chain):  # what is nearest to the cause counts
        if (found := _hub_problem(model, part, one)) is not None:
            return PolicyError(found[0], where=model.name, remedy=found[1])
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return PolicyError(f"cannot load {part}: {reason}", where=model.name, remedy=_INCOMPLETE)


def _hub_problem(model: ModelSettings, part: str, error: BaseException) -> tuple[str, str] | None:
    """Message and remedy where the hub's client says what is wrong; the order is from special kinds to general ones."""
    from huggingface_hub import errors as hub

    if isinstance(error, hub.GatedRepoError):
        page = f"https://huggingface.co/{model.name}"
        return "the model is gated, and you have no access to it yet", f"accept its licence at {page}, then {_LOG_IN}"
    if isinstance(error, hub.RevisionNotFoundError):
        return f"the model has no revision '{model.revision}'", "check model.revision against the model's page"
    if isinstance(error, hub.RepositoryNotFoundError):
        remedy = f"check model.name; if it is private, {_LOG_IN}"
        return "there is no such model on the hub, or it is private", remedy
    # Which HTTP client says that it got no connection depends on the hub library's version.
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    unreachable = not names.isdisjoint({"httpx.TransportError", "requests.ConnectionError", "requests.Timeout"})
    if unreachable or isinstance(error, hub.LocalEntryNotFoundError | hub.OfflineModeIsEnabled):
        remedy = "check the network (or HF_ENDPOINT), or give a local folder or an s3:// prefix as model.name"
        return "the hub cannot be reached, and this machine has no copy of the model", remedy
    if isinstance(error, hub.EntryNotFoundError):
        return f"it has no {part}: it is not a diffusers pipeline", _PIPELINE
    if isinstance(error, hub.HFValidationError):
        remedy = "check model.name: a folder, an s3:// prefix, or a hub id"
        return "there is no such folder, and it is not a hub id", remedy
    if isinstance(error, hub.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"the hub refuses access (HTTP {status})", f"{_LOG_IN}; a token needs read access to the model"
        remedy = "run again later; see https://status.huggingface.co"
        return f"the hub answered with an error (HTTP {status})", remedy
    return None
