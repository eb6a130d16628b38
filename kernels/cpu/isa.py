"""Which vector instructions this processor has, and the compiler flags that use them."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

# Numbers of the x86-64 Linux interface (arch/x86/include/uapi/asm/prctl.h).
SYS_ARCH_PRCTL = 158
ARCH_REQ_XCOMP_PERM = 0x1023
XFEATURE_XTILEDATA = 18


@dataclass(frozen=True, slots=True)
class Isa:
    """A level of instructions: the processor's flags it needs, as Linux names them."""

    name: str
    cpu_flags: frozenset[str]
    compiler_flags: tuple[str, ...]


def _isa(name: str, cpu_flags: str, compiler_flags: str) -> Isa:
    return Isa(name, frozenset(cpu_flags.split()), tuple(compiler_flags.split()))


_AVX2 = "avx2 fma f16c"
_AVX512 = f"{_AVX2} avx512f avx512bw avx512dq avx512vl"
_AVX2_FLAGS = "-mavx2 -mfma -mf16c"
_AVX512_FLAGS = f"{_AVX2_FLAGS} -mavx512f -mavx512bw -mavx512dq -mavx512vl"

_BF16 = f"{_AVX512} avx512_vnni avx512_bf16"
_BF16_FLAGS = f"{_AVX512_FLAGS} -mavx512vnni -mavx512bf16"

# From the fastest to the one that every processor has.
LEVELS = (
    _isa(
        "amx",
        f"{_BF16} amx_tile amx_bf16 amx_int8",
        f"{_BF16_FLAGS} -mamx-tile -mamx-bf16 -mamx-int8",
    ),
    _isa("avx512_bf16", _BF16, _BF16_FLAGS),
    _isa("avx512", _AVX512, _AVX512_FLAGS),
    _isa("avx2", _AVX2, _AVX2_FLAGS),
    _isa("portable", "", ""),
)


def available_levels() -> list[Isa]:
    """What this processor can run, the fastest first."""
    flags = _processor_flags()
    if "amx_tile" in flags and not _system_allows_tiles():
        flags -= {"amx_tile"}
    return [level for level in LEVELS if level.cpu_flags <= flags]


def detect_isa(wanted: str | None = None) -> Isa:
    """Return the level named ``wanted``, or the best one of this processor.

    Args:
        wanted: a name of ``LEVELS``; None for what $SGLANG_LANG_CPU_ISA names, if it is set.

    Raises:
        ValueError: the level is unknown, or this processor does not have it.
    """
    available = available_levels()
    wanted = wanted or os.environ.get("SGLANG_LANG_CPU_ISA")
    if not wanted:
        return available[0]
    for level in available:
        if level.name == wanted:
            return level
    allowed = ", ".join(level.name for level in available)
    raise ValueError(
        f"CPU instructions {wanted!r} (--cpu-isa or $SGLANG_LANG_CPU_ISA) cannot run here; "
        f"choose one of {allowed}"
    )


def _system_allows_tiles() -> bool:
    """Ask Linux for the tile registers; a process that uses them without asking is killed."""
    status: int = ctypes.CDLL(None).syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    return status == 0


def _processor_flags() -> frozenset[str]:
    if platform.machine() not in ("x86_64", "AMD64") or not CPUINFO.exists():
        return frozenset()
    for line in CPUINFO.read_text().splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()
