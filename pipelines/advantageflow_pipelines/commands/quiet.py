"""Libraries that keep to themselves while a command prints its lines."""

from __future__ import annotations


def quiet() -> None:
    """No progress bars and hints of libraries between the lines of a table."""
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # before diffusers is imported, which makes it talk
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message="`torch_dtype` is deprecated")
