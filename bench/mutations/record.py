"""What was examined and what it showed, kept in one file so that a run can be stopped and gone on with."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Finding:
    """An input that was not answered as it should be; `name` is that of its file."""

    name: str
    fault: str
    data: bytes


@dataclass
class Chunk:
    """What came of so many inputs that were made from one seed."""

    number: int
    count: int
    outcomes: Counter[str] = field(default_factory=Counter)
    cpu_seconds: float = 0.0
    slowest_seconds: float = 0.0
    memory_bytes: int = 0
    """Most that any of its inputs took beside what its process had before."""
    findings: list[Finding] = field(default_factory=list)

    def note(self, outcome: str, cpu_seconds: float) -> None:
        """One input was examined."""
        self.outcomes[outcome] += 1
        self.cpu_seconds += cpu_seconds
        self.slowest_seconds = max(self.slowest_seconds, cpu_seconds)


@dataclass
class Record:
    """All chunks of a run together. The inputs of findings lie beside its file."""

    seed: int
    done: list[int] = field(default_factory=list)
    count: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    slowest_seconds: float = 0.0
    memory_bytes: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, seed: int) -> Self:
        """What an earlier run with the same seed left, or an empty one; raises ValueError for one of another seed."""
        if not file.exists():
            return cls(seed)
        values: dict[str, Any] = json.loads(file.read_text())
        if values["seed"] != seed:
            raise ValueError(f"{file} is of a run with seed {values['seed']}; name another file")
        return cls(**values)

    def add(self, chunk: Chunk, folder: Path) -> None:
        """Take a chunk in, and keep the inputs of its findings."""
        self.done.append(chunk.number)
        self.count += chunk.count
        self.outcomes = dict((Counter(self.outcomes) + chunk.outcomes).most_common())
        self.cpu_seconds += chunk.cpu_seconds
        self.slowest_seconds = max(self.slowest_seconds, chunk.slowest_seconds)
        self.memory_bytes = max(self.memory_bytes, chunk.memory_bytes)
        for finding in chunk.findings:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / finding.name).write_bytes(finding.data)
            self.faults[finding.name] = finding.fault

    def write(self, file: Path) -> None:
        """Replace the file by what is known now."""
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1))
        part.replace(file)
