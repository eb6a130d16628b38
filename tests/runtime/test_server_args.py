"""Arguments that this machine cannot serve are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sglang_lang.runtime.errors import ServerArgsError
from sglang_lang.runtime.server_args import ServerArgs, parse_args, resolve


@pytest.mark.parametrize("flag", ["--dtype", "--kv-cache-dtype"])
def test_a_cpu_does_not_compute_in_float16(flag: str) -> None:
    with pytest.raises(ServerArgsError, match=f"{flag} float16.*bfloat16 or float32"):
        resolve(parse_args(["--device", "cpu", flag, "float16"]))


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="a GPU is here")
def test_a_gpu_that_is_not_here() -> None:
    with pytest.raises(ServerArgsError, match="--device cuda: no NVIDIA GPU"):
        resolve(ServerArgs(device="cuda"))


def test_every_auto_is_settled() -> None:
    settled = resolve(ServerArgs(device="cpu"))
    assert settled.dtype == "bfloat16"
    assert settled.device == "cpu"
    assert settled.chunked_prefill_size is not None
    assert settled.max_running_requests is not None


def test_an_unknown_kernel_backend_is_one_line() -> None:
    with pytest.raises(ServerArgsError, match="--kernel-backend") as refusal:
        parse_args(["--kernel-backend", "triton"])
    assert "\n" not in str(refusal.value)
