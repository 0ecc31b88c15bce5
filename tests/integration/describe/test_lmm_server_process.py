"""The tests' own language model server as a process, as the tests of whole processes use it."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from codec.encode.describe.lmm.client import OpenAIDescriber
from codec.language_model import LMMServer
from tests.lmm_server.memory import MemoryCache, UnlimitedLimiter

ROOT = Path(__file__).resolve().parents[3]


def ask(address: str, content: object = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data), timeout=10) as response:
        return json.loads(response.read())


def test_process_prints_its_address_and_is_steered_and_counted_over_http() -> None:
    command = [sys.executable, "-m", "tests.lmm_server", "--port", "0", "--latency", "0.01"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            address = base_url.removesuffix("/v1")
            ask(f"{address}/_script", {"steps": [{"play": "status", "status": 500}], "then": {"play": "good"}})
            describer = OpenAIDescriber(LMMServer(base_url=base_url), MemoryCache(), UnlimitedLimiter())
            describer.describe(Image.new("RGB", (40, 40)), lambda: False)
            describer.close()
            assert [entry["played"] for entry in ask(f"{address}/_log")["requests"]] == ["status", "good"]
            ask(f"{address}/_clear", {})
            assert ask(f"{address}/_log") == {"requests": [], "most_open_requests": 0}
        finally:
            process.kill()
