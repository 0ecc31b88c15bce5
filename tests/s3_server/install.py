"""Puts the S3 server of the tests into `.venv-swift`: `python -m tests.s3_server.install`.

Does nothing where it is there already, and is safe to call from several test processes at once.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = _ROOT / ".venv-swift"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

_INSTALL_TIMEOUT_SECONDS = 150
"""Below the time limit of one test, so that a dead index is told as what it is. Usually takes 20 s."""


class InstallFailed(Exception):
    """The package index cannot be reached, or has no wheels for this machine."""


def ensure_installed() -> Path:
    """Return the environment's Python, making the environment first where needed; raises InstallFailed."""
    # Wheels only: a compiler at work for minutes would look like a hanging test.
    return ensure_environment(ENVIRONMENT, REQUIREMENTS, "--only-binary", ":all:", "--no-deps")


def ensure_environment(environment: Path, requirements: Path, *options: str) -> Path:
    """The same for an environment of these requirements, which pip installs with these options."""
    python = environment / "bin" / "python"
    stamp = environment / "installed.sha256"
    with requirements.open("rb") as pins:
        fcntl.flock(pins, fcntl.LOCK_EX)
        wanted = hashlib.sha256(pins.read()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted and python.exists():
            return python
        shutil.rmtree(environment, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(environment))
        _run(str(python), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
             *options, "--requirement", str(requirements))  # fmt: skip
        stamp.write_text(wanted)
    return python


def _run(*command: str) -> None:
    try:
        subprocess.run(
            command,
            check=True,
            timeout=_INSTALL_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        raise InstallFailed(f"{' '.join(command[:4])} failed:\n{error.stdout[-2000:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"{' '.join(command[:4])} failed: {error}") from error


def main() -> int:
    """Install, and say where; returns the exit status."""
    try:
        python = ensure_installed()
    except InstallFailed as error:
        sys.stderr.write(f"the S3 server of the tests cannot be installed: {error}\n")
        return 1
    sys.stdout.write(f"{python}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
