"""`/`, `/docs` and their few files, under a policy that lets the page load nothing from anywhere else."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    # Revalidated every time, mostly with 304: a new version must not meet old scripts.
    "Cache-Control": "no-cache",
}
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {path.name: path for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}


@router.get("/")
async def page() -> FileResponse:
    """The page."""
    return FileResponse(_FOLDER / "index.html", media_type="text/html", headers=_POLICY)


@router.get("/docs")
async def documentation() -> FileResponse:
    """The description of the interface, drawn from `/openapi.json`."""
    return FileResponse(_FOLDER / "docs.html", media_type="text/html", headers=_POLICY)


@router.get("/web/{name}")
async def part(name: str) -> FileResponse:
    """A script, a style sheet or a drawing of a page."""
    path = _FILES.get(name)
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers=_POLICY)
