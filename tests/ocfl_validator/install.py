"""Puts the OCFL validator of the tests into `.venv-ocfl`: `python -m tests.ocfl_validator.install`.

It has an environment of its own: it brings a package called `tests` and holds boto3 to an old version.
"""

import sys
from pathlib import Path

from tests.s3_server.install import InstallFailed, ensure_environment

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-ocfl"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main() -> int:
    """Install, and say where; returns the exit status."""
    try:
        # The library itself comes as source code, and is Python alone.
        python = ensure_environment(ENVIRONMENT, REQUIREMENTS, "--prefer-binary")
    except InstallFailed as error:
        sys.stderr.write(f"the OCFL validator of the tests cannot be installed: {error}\n")
        return 1
    sys.stdout.write(f"{python}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
