"""Writes what is installed here as a CycloneDX bill of materials: `make sbom`. Reads local metadata only.

    python requirements/sbom.py build/sbom.cdx.json

Refuses an environment that holds what the lock of this Python does not name, or another version of it;
torch and what its build brings along stand outside the lock (see lock.py). Prints the licences.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = re.compile(r"(hcctl|pip|torch|triton|nvidia-.*|cuda-.*)")
"""Installed without a pin: this project, its installer, and torch with its own."""
UNDECLARED = "not declared"

_PIN = re.compile(r"^([a-z0-9.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)


def main() -> int:
    """Check, write and tell; 1 if something is installed that the lock does not name."""
    target = Path(sys.argv[1])
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    locks = [ROOT / f"requirements/{name}py{minor}.txt" for name in ("", "clusters-", "checks-")]
    lock = read_lock("".join(file.read_text() for file in locks))
    installed = {canonicalize_name(found.metadata["Name"]): found for found in distributions()}
    if strays := unlocked({name: found.version for name, found in installed.items()}, lock):
        sys.stderr.write(f"not as the lock says: {', '.join(strays)}\n")
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(JsonV1Dot6(bill(installed, lock)).output_as_string(indent=1) + "\n")
    sys.stdout.write(f"{len(installed)} components in {target}; licences:\n")
    for licence, names in sorted(by_licence(installed).items()):
        sys.stdout.write(f"  {licence}: {', '.join(names)}\n")
    return 0


def read_lock(text: str) -> dict[str, tuple[str, str]]:
    """(version, hex SHA-256 of the wheel) of each package of a lock."""
    return {canonicalize_name(name): (version, sha256) for name, version, sha256 in _PIN.findall(text)}


def unlocked(installed: Mapping[str, str], lock: Mapping[str, tuple[str, str]]) -> list[str]:
    """What is installed and not pinned, or in another version, as `name version`."""
    return [
        f"{name} {version}"
        for name, version in sorted(installed.items())
        if not OUTSIDE.fullmatch(name) and lock.get(name, ("", ""))[0] != version
    ]


def bill(installed: Mapping[str, Distribution], lock: Mapping[str, tuple[str, str]]) -> Bom:
    """The bill of materials: a component for each package, and who needs whom."""
    bom, licences = Bom(), LicenseFactory()
    parts = {}
    for name, found in sorted(installed.items()):
        version, pinned = found.version, lock.get(name)
        text = licence(found)
        parts[name] = Component(
            name=name,
            version=version,
            type=ComponentType.APPLICATION if name == "hcctl" else ComponentType.LIBRARY,
            bom_ref=f"{name}@{version}",
            purl=PackageURL("pypi", name=name, version=version),
            licenses=[] if text == UNDECLARED else [licences.make_from_string(text)],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=pinned[1])] if pinned else [],
        )
    root = parts.pop("hcctl", None)
    bom.metadata.component = root
    bom.components.update(parts.values())
    for name, part in (parts | ({"hcctl": root} if root else {})).items():
        bom.register_dependency(part, [parts[other] for other in needs(installed[name]) if other in parts])
    return bom


def needs(found: Distribution) -> list[str]:
    """Names that a package requires in this environment, without its extras."""
    wanted = map(Requirement, found.requires or ())
    return sorted({canonicalize_name(r.name) for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})})


def licence(found: Distribution) -> str:
    """What a package declares: an SPDX expression, else its classifiers, else the first line of its licence."""
    declared: str | None = found.metadata.get("License-Expression")
    if declared:
        return declared
    classifiers: Iterable[str] = found.metadata.get_all("Classifier") or ()
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    first = (found.metadata.get("License") or "").strip().partition("\n")[0]
    return "; ".join(named) or first[:80] or UNDECLARED


def by_licence(installed: Mapping[str, Distribution]) -> dict[str, list[str]]:
    """Names of packages by the licence that they declare."""
    found: dict[str, list[str]] = {}
    for name, distribution in sorted(installed.items()):
        found.setdefault(licence(distribution), []).append(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
