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
import warnings
from collections import defaultdict
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

from sglang_lang.kernels.cpu.isa import LEVELS, detect_isa
from sglang_lang.kernels.native import COMPILERS, cache_folder

DISTRIBUTION = "sglang-lang"
MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what is missing, its cost and the cure."""

    topic: str
    text: str
    advice: str | None = None


def examine() -> list[Finding]:
    """Look at the machine and the installation; builds the C++ kernels if that is still due."""
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
    named = cpuinfo.exists() and re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.M)
    model = named.group(1) if named else platform.machine()
    isa, best = detect_isa().name, LEVELS[0].name
    text = f"{model}, {len(os.sched_getaffinity(0))} cores, kernels for {isa}"
    advice = None if isa == best else f"no {best}: matrix products in bfloat16 run slower"
    return Finding("processor", text, advice)


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
        with warnings.catch_warnings():  # a missing compiler is a finding of its own
            warnings.simplefilter("ignore")
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
    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Finding("cache", f"{folder}, {size / MIB:.0f} MiB")
