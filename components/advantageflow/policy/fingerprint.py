"""Which weights a base model's name stands for at the moment: a name stays when what lies there is replaced."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from advantageflow.errors import PolicyError
from advantageflow.policy.configs import CONFIG, cached_file
from advantageflow.policy.location import model_location
from advantageflow.settings import ModelSettings
from advantageflow.store.s3 import is_s3
from advantageflow.store.s3_client import make_client
from advantageflow.store.s3_transfer import list_objects

_PART = "transformer"
_SAMPLES = 64  # values of each parameter that count


def weights_sha256(transformer: nn.Module) -> str:
    """Hash over names, shapes and evenly spaced values, as bfloat16, of the base's parameters; adapters do not count.

    The same wherever the model lies, in whichever precision it is loaded, and with adapters attached (not merged). It
    tells base models apart; of a single changed weight it may know nothing.
    """
    digest, values = hashlib.sha256(), []
    for name, parameter in sorted(transformer.named_parameters()):
        if ".lora_" not in name:
            digest.update(f"{name.replace('.base_layer', '')}{tuple(parameter.shape)}".encode())
            flat = parameter.detach().flatten()
            values.append(flat[:: max(1, len(flat) // _SAMPLES)][:_SAMPLES].float())
    digest.update(torch.cat(values).bfloat16().cpu().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def transformer_fingerprint(model: ModelSettings) -> str | dict[str, list[int | str]]:
    """What tells the transformer's weights from others, without reading them.

    Args:
        model: whose transformer has been loaded, so that the hub's is in the cache.

    Returns:
        On the hub the commit; else size and time of change, on S3 size and ETag, by file.

    Raises:
        PolicyError: as `model_location`; or the hub's cache has no such model.
        StoreError: S3 refuses.
    """
    place = model_location(model)
    if is_s3(place):
        url = f"{place}/{_PART}"
        return {path: [one.size, one.etag] for path, one in sorted(list_objects(make_client(url), url).items())}
    folder = Path(place)
    if folder.exists():
        files = sorted(path for path in (folder / _PART).rglob("*") if path.is_file())
        stats = {str(path.relative_to(folder)): path.stat() for path in files}
        return {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}
    file = cached_file(model.name, f"{_PART}/{CONFIG}", model.revision)
    if file is None:
        remedy = "give the commit as model.revision; or check HF_HUB_CACHE"
        raise PolicyError("which commit of the model was loaded cannot be told", where=model.name, remedy=remedy)
    return file.parent.parent.name  # snapshots/<commit>/transformer/config.json
