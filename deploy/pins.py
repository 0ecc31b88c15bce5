"""Writes `deploy/requirements/*.txt`: the exact versions that go into the images, taken from this environment.

Run as `.venv/bin/python deploy/pins.py` after the tests have passed with new versions.
"""

import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(__file__).with_name("requirements")
TARGETS = {
    "api": ("api",),
    "encode": ("encode",),
    "encode-nets": ("encode", "nets"),
    "decode": ("decode", "nets", "c2pa"),
}
"""Images and the extras that each installs. PyTorch is in those that restore, and in an encode image on request."""

OLDER_PYTHON = {"async-timeout": 'async-timeout==5.0.1; python_full_version < "3.11.3"'}
"""What the clients of Redis and HTTP need where the base has the first releases of Python 3.11, as Debian 12 does."""


def requirements_of(target: str) -> list[Requirement]:
    """What `pyproject.toml` asks for in this image: the common part and the process's own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in TARGETS[target] for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


def closure(requirements: Iterable[Requirement]) -> dict[str, str]:
    """Name and version of these and all that they need in turn; raises PackageNotFoundError for one that is missing."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        visit = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if visit in seen:
            continue
        seen.add(visit)
        found = distribution(requirement.name)
        versions[visit[0]] = found.version
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}
            ):
                waiting.append(needed)
    return dict(sorted(versions.items()))


def main() -> int:
    """Write one file for each target; returns the exit status."""
    for target in TARGETS:
        try:
            versions = closure(requirements_of(target))
        except PackageNotFoundError as error:
            sys.stderr.write(f"{error.name} is not installed here; install the extra `{target}` first\n")
            return 1
        lines = [f"# What the image `{target}` holds. Written by deploy/pins.py; do not edit."]
        lines += sorted([*(f"{name}=={version}" for name, version in versions.items()), *OLDER_PYTHON.values()])
        (FOLDER / f"{target}.txt").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
