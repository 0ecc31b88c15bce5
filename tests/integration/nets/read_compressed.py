"""Run as a process of its own: reads payloads under whatever settings it was given and prints what the symbols are."""

import hashlib
import json
import sys
from pathlib import Path

import torch

from codec.nets.compression.network import load_network


def main() -> None:
    """Takes the number of threads, "on" or "off" for oneDNN, and JSON: files of weights and payloads."""
    threads, one_dnn, jobs = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.backends.mkldnn.enabled = one_dnn == "on"
    found = {"capability": torch.backends.cpu.get_cpu_capability()}
    for job in json.loads(jobs):
        state = torch.load(job["weights"], weights_only=True)
        codec = load_network(job["architecture"], state, b"1234")
        latents = codec.read(Path(job["payload"]).read_bytes(), job["width"], job["height"])
        digest = hashlib.sha256(latents.latent.tobytes() + latents.hyper_symbols.tobytes())
        found[job["architecture"]] = digest.hexdigest()
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
