"""The document says all that is checked: what it allows is taken, what it forbids refused, answers are as it says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.api.conftest import Running

pytestmark = pytest.mark.timeout(400)

_TOOL = Path(sys.executable).with_name("schemathesis")
_CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
def test_answers_are_as_the_document_says(running: Running, tmp_path: Path) -> None:
    """Some 900 requests: the examples, and each parameter at, within and beyond its bounds."""
    if shutil.which(_TOOL) is None and not os.environ.get("CI"):
        pytest.skip("schemathesis is not installed")
    url = f"{running.client.base_url}/openapi.json"
    arguments = ["--checks", "all", "--phases", "examples,coverage", "--seed", "7", "--suppress-health-check", "all"]
    run = subprocess.run(
        [_TOOL, "--config-file", _CONFIG, "run", url, *arguments, "--no-shrink", "--generation-database", "none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:]
