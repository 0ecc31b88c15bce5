"""The notebook of the documentation, cell by cell in a kernel, against a running service."""

import base64
import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cli.commands.demo import isolated_environment
from cli.up.stack import EmbeddedStack

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(1000)


def test_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError:
        if os.environ.get("CI"):
            raise
        pytest.skip("nbclient is not installed")
    book = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    assert all(cell.cell_type != "code" or not cell.outputs for cell in book.cells)
    with EmbeddedStack(tmp_path / "data", 0, environment=isolated_environment(os.environ)) as stack:
        stack.wait_ready()
        for name in [name for name in os.environ if name.startswith("MISC_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("MISC_SERVER", stack.base_url)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        NotebookClient(book, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()

    shown = [cell for cell in book.cells if cell.cell_type == "code"]
    sizes = [picture.size for cell in shown for picture in _pictures(cell)]
    assert sizes == [(600, 400), (600, 400), (451, 300)]
    said = "".join(output.text for cell in shown for output in cell.outputs if output.output_type == "stream")
    bpp = float(said.split(" bits per pixel")[0].split()[-1])
    assert 0 < bpp <= 0.05
    assert "True " in said and "img_" in said


def _pictures(cell: Any) -> list[Image.Image]:
    """What a notebook shows below a cell."""
    data = [output.data for output in cell.outputs if output.output_type == "execute_result"]
    return [Image.open(io.BytesIO(base64.b64decode(one["image/png"]))) for one in data if "image/png" in one]
