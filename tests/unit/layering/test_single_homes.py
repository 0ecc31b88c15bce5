"""What only one module may do, where import-linter cannot tell; part of `make check`."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PRODUCT = ("api", "bench", "cli", "codec", "core", "migrations", "models", "workers")


def _modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def _users(name: str) -> list[str]:
    """The modules that use a name, by import or as an attribute."""
    found = []
    for path in _modules(*PRODUCT):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        uses_it = any(isinstance(node, ast.Name) and node.id == name for node in nodes)
        if uses_it or any(isinstance(node, ast.Attribute) and node.attr == name for node in nodes):
            found.append(str(path.relative_to(ROOT)))
    return found


def test_one_module_knows_where_a_stream_lies() -> None:
    assert _users("bitstream_key") == ["core/archive/bitstreams.py"]


def _writers_of_jobs() -> list[str]:
    """The modules that insert, update, delete or construct job rows, or take hold of the table to do so."""
    statements = {"insert", "update", "delete", "insert_into"}
    found = set()
    # Benches work on databases of their own, which they may fill with copies of rows.
    for path in _modules(*(part for part in PRODUCT if part != "bench")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                function = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                targets = {argument.id for argument in node.args if isinstance(argument, ast.Name)}
                writes = function == "Job" or (function in statements and targets & {"Job", "_JOBS"})
            else:
                writes = isinstance(node, ast.Attribute) and ast.unparse(node) == "Job.__table__"
            if writes:
                found.add(str(path.relative_to(ROOT)))
    return sorted(found)


def test_two_modules_write_job_rows() -> None:
    assert _writers_of_jobs() == ["core/jobs/claims.py", "core/jobs/transitions.py"]
