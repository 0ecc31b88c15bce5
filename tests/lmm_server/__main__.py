"""`python -m tests.lmm_server --port 0`: prints its base URL in a line, then serves until it is ended."""

import argparse
import json
import os
import sys
import time

from tests.lmm_server.server import KINDS, LMMTestServer


def main() -> None:
    """Serve until the process that started it is gone."""
    parser = argparse.ArgumentParser(prog="python -m tests.lmm_server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, default="openai")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--script", type=json.loads, default={}, help="as for POST /_script")
    arguments = parser.parse_args()
    parent = os.getppid()
    with LMMTestServer(arguments.port, arguments.kind, arguments.latency) as server:
        server.state.set_script(arguments.script)
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        while os.getppid() == parent:
            time.sleep(0.5)


if __name__ == "__main__":
    main()
