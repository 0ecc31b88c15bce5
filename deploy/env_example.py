"""Writes `deploy/.env.example` from the settings classes: every setting, its default, and what it is for.

Run as `.venv/bin/python deploy/env_example.py` after a setting was added or changed.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Run as a script, its own folder is on the path and the packages beside it are not.
sys.path.insert(0, str(ROOT))

from pydantic import SecretStr, TypeAdapter  # noqa: E402
from pydantic_settings import BaseSettings  # noqa: E402

from core.settings import ALL_SETTINGS  # noqa: E402

FILE = Path(__file__).with_name(".env.example")

SECRETS = {
    "POSTGRES_PASSWORD": "Password of the database; compose.yaml makes MISC_DATABASE_URL from it",
    "REDIS_PASSWORD": "Password of the broker; compose.yaml makes MISC_BROKER_URL from it",
    "MISC_STORAGE_SECRET_KEY": "Secret key of the S3 store; its access key is `misc` unless set below",
    "MISC_API_KEYS": "Bearer keys of the HTTP interface, separated by commas",
}
"""What compose.yaml cannot start without."""

COMPOSE = {
    "PUBLISH": ("127.0.0.1:8000", "Address and port of this machine at which the API is reached"),
    "WEIGHTS": ("weights", "Folder of this machine with the networks' weights, or the name of a volume"),
    "TAG": ("dev", "Tag of the images that are built"),
    "ENCODE_REQUIREMENTS": ("encode", "What the encode image holds; encode-nets for one with PyTorch, several GB"),
    "DECODE_GPU": ("0", "Number or UUID of the GPU in compose.gpu.yaml"),
}
"""What only the compose files read."""

_HEAD = """\
# Settings of the service. For compose.yaml copy this file to .env beside it; other ways of running hand the same
# names to the processes as environment variables. Durations are seconds (90) or ISO 8601 (PT90S, PT15M, PT6H).

# Needed by compose.yaml. Use letters and digits, for they become parts of URLs: openssl rand -hex 24
"""


def default_of(default: object) -> str:
    """A default as it is written in an environment variable; nothing for a setting that is unset."""
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, timedelta):
        return str(TypeAdapter(timedelta).dump_python(default, mode="json"))
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, tuple | list | set | frozenset):
        return ",".join(default_of(one) for one in default)
    return str(default)


def settings_of(kind: type[BaseSettings]) -> Iterator[tuple[str, str, str]]:
    """Name of the variable, default and explanation of every setting of a class."""
    prefix = kind.model_config.get("env_prefix", "")
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        yield f"{prefix}{name}".upper(), default_of(default), field.description or ""


def render() -> str:
    """The whole file."""
    lines = [_HEAD]
    lines += [f"# {explanation}.\n{name}=\n" for name, explanation in SECRETS.items()]
    lines.append("# Read by the compose files only.\n")
    lines += [f"# {explanation}.\n#{name}={default}\n" for name, (default, explanation) in COMPOSE.items()]
    lines.append(
        "# Every setting of the processes with its default; take the # away to change one. compose.yaml itself sets\n"
        "# the database, the broker, the storage, where the API listens, the form of the logs, MISC_WEIGHTS_PATH (see\n"
        "# WEIGHTS) and, unless set here, a MISC_WORKER_SOFT_SHUTDOWN of PT25S.\n"
    )
    for kind in ALL_SETTINGS:
        lines.append(f"# {kind.__name__}: {(kind.__doc__ or '').splitlines()[0]}\n")
        for name, default, explanation in settings_of(kind):
            place = " Set at the top." if name in SECRETS else ""
            lines.append(f"# {explanation}.{place}\n#{name}={default}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    FILE.write_text(render())
