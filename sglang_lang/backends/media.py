"""Images and videos as hosted APIs take them."""

from __future__ import annotations

import base64
import io
import mimetypes
from pathlib import Path

from ..errors import BackendError
from ..extras import needs
from ..ir import SglMedia


def image_bytes(media: SglMedia) -> tuple[str, bytes]:
    """MIME type and content of an image that is a path or bytes."""
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


def frames_of(video: SglMedia) -> list[SglMedia]:
    """``num_frames`` frames of a video file as JPEG images, in order, equally far apart.

    Raises:
        BackendError: the file is no video.
    """
    with needs("video"):
        import av
    path, wanted = str(video.source), video.num_frames or 1
    frames = []
    try:
        with av.open(path) as file:
            total = sum(packet.size > 0 for packet in file.demux(video=0))
        places = {(2 * i + 1) * total // (2 * wanted) for i in range(wanted)}
        with av.open(path) as file:
            for number, frame in enumerate(file.decode(video=0)):
                if number in places:
                    content = io.BytesIO()
                    frame.to_image().save(content, "JPEG")
                    frames.append(SglMedia("image", content.getvalue()))
    except (av.FFmpegError, IndexError) as error:
        raise BackendError(f"{path} cannot be read as a video: {error}") from error
    return frames
