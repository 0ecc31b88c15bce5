"""The API as a process: it needs no ML library, and does not listen for others without keys."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib.abc, sys

BLOCKED = {"torch", "torchvision", "diffusers", "transformers", "compressai", "skimage", "scipy", "openai"}

OURS = {"codec.encode", "codec.decode", "codec.nets", "migrations", "workers", "cli"}

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED or name in OURS:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import api.server
from fastapi.testclient import TestClient
from api.app import create_app
from api.services import Services
from models import Base
from sqlalchemy import create_engine
from core.settings import APISettings, BrokerSettings, DatabaseSettings, StorageSettings, WorkerSettings

folder = sys.argv[1]
Base.metadata.create_all(create_engine(f"sqlite:///{folder}/misc.db"))
services = Services.open(
    APISettings(),
    DatabaseSettings(url=f"sqlite:///{folder}/misc.db"),
    BrokerSettings(url=f"redis+socket://{folder}/none.sock"),
    StorageSettings(path=f"{folder}/objects"),
    WorkerSettings(),
)
with TestClient(create_app(services), base_url="http://localhost") as client:
    assert client.get("/healthz").status_code == 200
    assert client.get("/").status_code == 200
    assert client.get("/openapi.json").status_code == 200
    answer = client.post("/v1/images", files={"file": ("a.png", b"no picture")})
    assert answer.json()["code"] == "picture_unrecognised", answer.text
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in BLOCKED | {"boto3", "botocore"})
assert loaded == [], loaded
print("served")
"""


def test_api_serves_without_any_ml_library(tmp_path: object) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert ended.stdout.endswith("served\n"), ended.stdout + ended.stderr


def test_process_refuses_an_open_address_with_exit_status_2(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "MISC_API_HOST": "0.0.0.0",
        "MISC_DATABASE_URL": f"sqlite:///{tmp_path}/misc.db",
        "MISC_STORAGE_PATH": str(tmp_path / "objects"),
    }
    ended = subprocess.run([sys.executable, "-m", "api"], env=environment, capture_output=True, text=True, timeout=150)
    assert ended.returncode == 2
    assert "MISC_API_KEYS" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "objects").exists() and not (tmp_path / "misc.db").exists()
