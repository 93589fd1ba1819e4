"""The container images that stages run in, unless a pipeline is compiled for others."""

from advantageflow import __version__


def default_image(stage: str) -> str:
    """The image of a stage as `docker/` builds it, with no registry and the package's version as its tag."""
    return f"advantageflow/{stage}:{__version__}"
