"""Images and videos as hosted APIs get them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest

import sglang_lang as sgl
from sglang_lang.backends.media import frames_of
from sglang_lang.ir import SglMedia

from .openai_server import openai_server

NUM_FRAMES = 30


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that gets lighter from frame to frame."""
    path = tmp_path_factory.mktemp("video") / "lighter.mp4"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(NUM_FRAMES):
            grey = np.full((48, 64, 3), 8 * number, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        file.mux(stream.encode())
    return path


def brightness(jpeg: bytes) -> float:
    return float(np.asarray(PIL.Image.open(io.BytesIO(jpeg)).convert("L")).mean())


def test_frames_are_equally_far_apart(path: Path) -> None:
    frames = [frame.source for frame in frames_of(SglMedia("video", str(path), 3))]
    levels = [brightness(frame) for frame in frames if isinstance(frame, bytes)]
    assert levels == pytest.approx([8 * number for number in (5, 15, 25)], abs=6)


def test_more_frames_than_there_are_give_all(path: Path) -> None:
    assert len(frames_of(SglMedia("video", str(path), 1000))) == NUM_FRAMES


def test_a_chat_model_is_shown_a_video_as_its_frames(path: Path) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.user("What happens?" + sgl.video(str(path), 4) + "Be brief.")
        s += sgl.assistant(sgl.gen("x"))

    with openai_server(lambda body: "it gets lighter") as server:
        backend = sgl.OpenAI("m", base_url=server.url, api_key="key")
        assert program.run(backend=backend)["x"] == "it gets lighter"
        backend.shutdown()
    parts = server.requests[0]["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", *["image_url"] * 4, "text"]
    head, _, data = parts[1]["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert brightness(base64.b64decode(data)) < 8 * NUM_FRAMES / 4


@pytest.mark.parametrize("content", [b"no video", None])
def test_a_file_that_is_no_video_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(sgl.BackendError, match=r"broken\.mp4 cannot be read as a video"):
        frames_of(SglMedia("video", str(path), 2))


def test_a_completion_model_sees_nothing() -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Look: " + sgl.image(b"...") + sgl.gen("x")

    backend = sgl.OpenAI("m", is_chat_model=False, base_url="http://127.0.0.1:9", api_key="key")
    with pytest.raises(sgl.ProgramError, match="m is a completion model, which takes no images"):
        program.run(backend=backend)
    backend.shutdown()
