"""The page at /: a chat with the served model and a view of the server at work, as plain files."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..errors import RequestError
from .routing import Routes

router = Routes()
FOLDER = Path(__file__).parent / "playground"
FILES = frozenset(path.name for path in FOLDER.iterdir())
HEADERS = {
    "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


@router.get("/")
async def page(request: Request) -> Response:
    return FileResponse(FOLDER / "index.html", headers=HEADERS)


@router.get("/playground/{name}")
async def file(request: Request, name: str) -> Response:
    if name not in FILES:
        raise RequestError(f"GET /playground/{name}: there is no such file", status=404)
    return FileResponse(FOLDER / name, headers=HEADERS)
