"""Lists what is installed as a bill of materials (CycloneDX) and asks which of it has known weaknesses.

Run as `.venv/bin/python deploy/dependencies.py FOLDER`, which gets `sbom.json` and `audit.json`. The list needs no
network. Where nobody answers questions about weaknesses it says so, and that is no failure; a known weakness is one.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_SBOM_SECONDS, _AUDIT_SECONDS = 300.0, 300.0
_ANSWER_SECONDS = "5"
_MOST_NAMED = 20


def main() -> int:
    """Write both files; returns 1 where a package has a known weakness, 2 where the list could not be made."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build")
    folder.mkdir(parents=True, exist_ok=True)
    programs = Path(sys.executable).parent
    sbom = folder / "sbom.json"
    command = [
        str(programs / "cyclonedx-py"), "environment", sys.executable, "--no-validate", "--output-format", "JSON",
        "--output-file", str(sbom),
    ]  # fmt: skip
    made = subprocess.run(command, timeout=_SBOM_SECONDS, capture_output=True, text=True)
    if made.returncode != 0:
        print(f"No bill of materials could be made: {made.stderr.strip()[-500:]}")
        return 2
    print(f"{sbom}: {len(json.loads(sbom.read_text())['components'])} packages")
    sentence, is_bad = audit_sentence(_audit(programs, folder / "audit.json"))
    print(sentence)
    return 1 if is_bad else 0


def audit_sentence(document: dict[str, Any] | None) -> tuple[str, bool]:
    """What pip-audit's answer comes to, and whether it is bad; None stands for no answer."""
    if document is None:
        return "Weaknesses were not looked for: nobody who knows them could be reached.", False
    packages = document["dependencies"]
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    weak = [package for package in packages if package.get("vulns")]
    if weak:
        named = "; ".join(
            f"{package['name']} {package['version']}: {', '.join(one['id'] for one in package['vulns'])}"
            for package in weak[:_MOST_NAMED]
        )
        return f"{len(weak)} of {len(packages)} packages have known weaknesses: {named}.", True
    if len(unknown) == len(packages):
        return f"Weaknesses were not looked for: none of the {len(packages)} packages is known to who was asked.", False
    rest = f" {len(unknown)} could not be looked up." if unknown else ""
    return f"{len(packages) - len(unknown)} packages have no known weakness.{rest}", False


def _audit(programs: Path, file: Path) -> dict[str, Any] | None:
    file.unlink(missing_ok=True)
    command = [
        str(programs / "pip-audit"), "--local", "--skip-editable", "--progress-spinner", "off",
        "--timeout", _ANSWER_SECONDS, "--format", "json", "--output", str(file),
    ]  # fmt: skip
    try:
        subprocess.run(command, timeout=_AUDIT_SECONDS, capture_output=True, text=True)
        document: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return document


if __name__ == "__main__":
    sys.exit(main())
