"""Arguments that this machine cannot serve are refused before anything starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from sglang_lang.kernels.cpu.isa import LEVELS
from sglang_lang.runtime.command_line import parse_args
from sglang_lang.runtime.errors import ServerArgsError
from sglang_lang.runtime.server_args import ServerArgs, resolve


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


def test_instructions_are_chosen_by_flag_or_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = get_args(get_type_hints(ServerArgs)["cpu_isa"])[0]
    assert get_args(choices) == tuple(level.name for level in LEVELS)
    monkeypatch.setenv("SGLANG_LANG_CPU_ISA", "sve2")
    with pytest.raises(ServerArgsError, match=r"'sve2'.*--cpu-isa.*choose one of"):
        resolve(ServerArgs(device="cpu"))
    flags = ["--device", "cpu", "--cpu-isa", "portable"]
    assert resolve(parse_args(flags)).cpu_isa == "portable"


def test_triton_is_refused_on_a_cpu() -> None:
    with pytest.raises(ServerArgsError, match="--kernel-backend triton needs --device cuda"):
        resolve(parse_args(["--kernel-backend", "triton", "--device", "cpu"]))


def test_an_unknown_kernel_backend_is_one_line() -> None:
    with pytest.raises(ServerArgsError, match="--kernel-backend") as refusal:
        parse_args(["--kernel-backend", "vulkan"])
    assert "\n" not in str(refusal.value)


def test_evicted_kv_needs_a_folder_on_a_cpu() -> None:
    with pytest.raises(ServerArgsError, match="give --cache-dir"):
        resolve(ServerArgs(device="cpu", kv_tier_size=1.0))
    assert resolve(ServerArgs(device="cpu", cache_dir="kv")).kv_tier_size == 8.0
    assert resolve(parse_args(["--cache-dir", "kv", "--kv-tier-size", "0.5"])).kv_tier_size == 0.5


def test_a_tier_without_a_cache_or_without_room_is_refused() -> None:
    with pytest.raises(ServerArgsError, match="--disable-radix-cache"):
        ServerArgs(cache_dir="kv", disable_radix_cache=True)
    with pytest.raises(ServerArgsError, match="--kv-tier-size must be positive"):
        ServerArgs(cache_dir="kv", kv_tier_size=0.0)


def test_a_model_has_a_thread_for_each_core_unless_told_otherwise() -> None:
    cores = resolve(ServerArgs(device="cpu")).cpu_threads
    assert cores is None or 1 <= cores <= len(os.sched_getaffinity(0))
    assert resolve(ServerArgs(device="cpu", cpu_threads=5)).cpu_threads == 5
    assert resolve(ServerArgs(device="cpu", cpu_threads=5, numa_node=0)).cpu_threads == 5


def test_a_numa_node_that_is_not_here() -> None:
    with pytest.raises(ServerArgsError, match="--numa-node: this process can use no core of node"):
        resolve(ServerArgs(device="cpu", numa_node=999))
