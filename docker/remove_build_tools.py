"""Removes from the Python that runs it what installs or builds software: pip, setuptools, wheel, ensurepip."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from itertools import chain
from pathlib import Path

_MODULES = ("_distutils_hack", "distutils-precedence.pth", "ensurepip", "pip", "pkg_resources", "setuptools", "wheel")
_COMMANDS = ("pip", "pip3*", "wheel", "easy_install*")
_DEBIAN_WHEELS = Path("/usr/share/python-wheels")


def main() -> None:
    """Remove them wherever this Python looks for modules, and their commands beside it."""
    libraries = [Path(folder) for folder in sys.path[1:] if Path(folder).is_dir()]  # the first is this file's own
    commands = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent, Path("/usr/bin")]
    found = [
        *chain.from_iterable(folder.glob(f"{name}") for folder in libraries for name in _MODULES),
        *chain.from_iterable(folder.glob(f"{name}-*-info") for folder in libraries for name in _MODULES),
        *chain.from_iterable(folder.glob(f"{name}-*.egg-info") for folder in libraries for name in _MODULES),
        *chain.from_iterable(folder.glob(name) for folder in commands for name in _COMMANDS),
        _DEBIAN_WHEELS,
    ]
    for path in dict.fromkeys(found):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
