"""What this machine has for the runtime, what is missing, and what that costs.

Standard library only until the kernels are asked for, so that it runs where the runtime's packages
are missing, which is when it is needed most.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

from .server_args import cache_dir

DISTRIBUTION = "sglang-lang"
MIB = 1 << 20
GIB = 1 << 30
COMPILERS = ("g++", "c++", "clang++")

# Flags of /proc/cpuinfo that a kernel has a path for, slowest first.
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what is missing, its cost and the cure."""

    topic: str
    text: str
    advice: str | None = None


def examine() -> list[Finding]:
    """Look at the machine and the installation; nothing is started, built or downloaded."""
    return [
        _processor(),
        _memory(),
        Finding("python", f"{platform.python_version()} at {sys.executable}"),
        *_packages(),
        _compiler(),
        *_torch_and_kernels(),
        _cache(),
    ]


def _processor() -> Finding:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", text, re.MULTILINE)
    known = set(flags.group(1).split()) if flags else set()
    sets = [isa for isa in INSTRUCTION_SETS if isa in known]
    model = name.group(1) if name else platform.processor() or platform.machine()
    described = f"{model}, {len(os.sched_getaffinity(0))} cores, {' '.join(sets) or 'no AVX2'}"
    if "avx512_bf16" in sets or "amx_bf16" in sets:
        return Finding("processor", described)
    return Finding("processor", described, "no bfloat16 instructions: matrix products run slower")


def _memory() -> Finding:
    page = os.sysconf("SC_PAGE_SIZE")
    total = os.sysconf("SC_PHYS_PAGES") * page / GIB
    free = os.sysconf("SC_AVPHYS_PAGES") * page / GIB
    return Finding("memory", f"{total:.1f} GiB, {free:.1f} GiB free")


def _packages() -> list[Finding]:
    """One finding an extra: its packages with their versions, the missing ones as advice."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return [Finding("packages", "run from a checkout", "not installed: pip install -e .")]
    extras: dict[str, list[str]] = defaultdict(list)
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if name and name.group() != DISTRIBUTION:
            extras[extra.group(1) if extra else "client"].append(name.group())
    return [_extra(extra, names) for extra, names in extras.items()]


def _extra(extra: str, names: list[str]) -> Finding:
    present, missing = [], []
    for name in names:
        try:
            present.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    advice = None
    if missing:
        cure = "" if extra == "client" else f": pip install '{DISTRIBUTION}[{extra}]'"
        advice = f"without {', '.join(missing)}{cure}"
    return Finding(extra, ", ".join(present) or "none of its packages", advice)


def _compiler() -> Finding:
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    if found:
        return Finding("compiler", found)
    return Finding(
        "compiler",
        "none",
        "the kernels in C++ cannot be built: the plain torch ones serve, several times slower. "
        f"Install one of {', '.join(COMPILERS)}",
    )


def _torch_and_kernels() -> list[Finding]:
    try:
        import torch

        from sglang_lang.kernels.dispatch import load_ops
    except ModuleNotFoundError as error:
        return [Finding("kernels", "none", f"{error.name} is missing: no model runs here")]
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
        gpu = ", ".join(
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        )
    else:
        gpu = "none"
    findings = [Finding("gpu", gpu)]
    for device in devices:
        ops = load_ops(device)
        serving: dict[str, list[str]] = defaultdict(list)
        for op in fields(ops):
            serving[_implementation(getattr(ops, op.name))].append(op.name)
        text = "; ".join(f"{name}: {', '.join(names)}" for name, names in serving.items())
        findings.append(Finding(f"kernels ({device})", text))
    return findings


def _implementation(op: object) -> str:
    """Name of the folder or file of ``kernels`` that an op's implementation comes from."""
    if getattr(op, "__name__", "") == "reference":
        return "reference"
    module = getattr(op, "__module__", type(op).__module__)
    return module.removeprefix("sglang_lang.kernels.").split(".")[0]


def _cache() -> Finding:
    folder = cache_dir()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding("cache", f"{folder}, {size / MIB:.0f} MiB")
