"""Writes an image's inventory (SBOM) as CycloneDX JSON: packages of Python and of Debian. sbom.py IMAGE FILE"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote

DPKG = Path("/var/lib/dpkg/status")


def main(image: str, file: str) -> None:
    """Without date and serial number: equal contents, equal file."""
    found = {one["purl"]: one for one in [*_python(), *_debian()]}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image}},
        "components": [found[purl] for purl in sorted(found)],
    }
    Path(file).write_text(json.dumps(document, indent=1) + "\n")


def _python() -> Iterator[dict[str, object]]:
    for one in distributions():
        licence = one.metadata.get("License-Expression") or one.metadata.get("License") or ""
        named = {"licenses": [{"license": {"name": licence.strip().partition("\n")[0][:200]}}]} if licence else {}
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        yield _component(one.metadata["Name"], one.version, f"pkg:pypi/{name}") | named


def _debian() -> Iterator[dict[str, object]]:
    for paragraph in DPKG.read_text().split("\n\n") if DPKG.exists() else ():
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield _component(fields["Package"], fields["Version"], f"pkg:deb/debian/{fields['Package']}")


def _component(name: str, version: str, address: str) -> dict[str, object]:
    return {"type": "library", "name": name, "version": version, "purl": f"{address}@{quote(version, safe='')}"}


if __name__ == "__main__":
    main(*sys.argv[1:3])
