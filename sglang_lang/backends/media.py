"""Images as hosted APIs take them."""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path

from ..errors import BackendError
from ..ir import SglMedia


def image_bytes(media: SglMedia) -> tuple[str, bytes]:
    """MIME type and content of an image that is a path or bytes."""
    if media.kind != "image":
        raise BackendError(f"this API takes images, not a {media.kind}")
    if isinstance(media.source, bytes):
        kind = "image/png" if media.source.startswith(b"\x89PNG") else "image/jpeg"
        return kind, media.source
    path = Path(media.source)
    return mimetypes.guess_type(path.name)[0] or "image/jpeg", path.read_bytes()


def data_url(media: SglMedia) -> str:
    """An image as a URL: its own, or one that holds its bytes."""
    if isinstance(media.source, str) and media.source.startswith(("http://", "https://", "data:")):
        return media.source
    kind, content = image_bytes(media)
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
