"""The C++ kernels of ``csrc/`` as a ctypes library: built once, with every function's types.

ctypes releases the GIL during a call, so other threads of the process run on.
"""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_float, c_int, c_long, c_void_p
from pathlib import Path

import torch

from ..native import build_shared_library
from .isa import detect_isa

SOURCES = Path(__file__).resolve().parent.parent / "csrc"
FLAGS = ("-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi")

_DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1}
_CACHE_DTYPE_CODES = {torch.int8: 2, torch.float8_e4m3fn: 3}


def dtype_code(dtype: torch.dtype) -> int:
    """The number by which csrc/export.h knows an element type.

    Raises:
        TypeError: the kernels do not take this type.
    """
    try:
        return _DTYPE_CODES[dtype]
    except KeyError:
        raise TypeError(f"the CPU kernels take float32 and bfloat16, not {dtype}") from None


def cache_dtype_code(dtype: torch.dtype) -> int:
    """The same for the type of a KV cache, which may have eight bits (see cache_format.py)."""
    code = _CACHE_DTYPE_CODES.get(dtype)
    return dtype_code(dtype) if code is None else code


class BlockFormat(Structure):
    """``struct BlockFormat`` of csrc/blocks.h."""

    _fields_ = [
        ("block", c_int),
        ("high_bits", c_int),
        ("has_minimum", c_int),
        ("offset", c_int),
    ]


class LinearWeight(Structure):
    """``struct LinearWeight`` of csrc/linear.h."""

    _fields_ = [
        ("kind", c_int),
        ("in_features", c_long),
        ("out_features", c_long),
        ("panels", c_void_p),
        ("bias", c_void_p),
        ("format", BlockFormat),
    ]


class AttentionBatch(Structure):
    """``struct AttentionBatch`` of csrc/attention.h."""

    _fields_ = [
        ("req_to_token", c_void_p),
        ("max_context", c_long),
        ("req_pool_indices", c_void_p),
        ("seq_lens", c_void_p),
        ("query_start", c_void_p),
        ("num_requests", c_long),
    ]


class AttentionLayer(Structure):
    """``struct AttentionLayer`` of csrc/attention.h."""

    _fields_ = [
        ("cache_dtype", c_int),
        ("k_cache", c_void_p),
        ("v_cache", c_void_p),
        ("num_heads", c_long),
        ("num_kv_heads", c_long),
        ("head_dim", c_long),
        ("scale", c_float),
        ("window", c_long),
        ("soft_cap", c_float),
    ]


class DecoderLayer(Structure):
    """``struct DecoderLayer`` of csrc/decoder.cpp."""

    _fields_ = [
        ("qkv", LinearWeight),
        ("output", LinearWeight),
        ("gate_up", LinearWeight),
        ("down", LinearWeight),
        ("attention_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("post_attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("post_mlp_norm", c_void_p),
        ("cos_sin", c_void_p),
        ("rot_dim", c_long),
        ("window", c_long),
    ]


class DecoderStack(Structure):
    """``struct DecoderStack`` of csrc/decoder.cpp."""

    _fields_ = [
        ("dtype", c_int),
        ("activation", c_int),
        ("num_layers", c_long),
        ("layers", c_void_p),
        ("final_norm", c_void_p),
        ("eps", c_float),
        ("scale", c_float),
        ("soft_cap", c_float),
        ("hidden_size", c_long),
        ("intermediate_size", c_long),
        ("num_heads", c_long),
        ("num_kv_heads", c_long),
        ("head_dim", c_long),
    ]


class DecoderStep(Structure):
    """``struct DecoderStep`` of csrc/decoder.cpp."""

    _fields_ = [
        ("tokens", c_long),
        ("hidden", c_void_p),
        ("positions", c_void_p),
        ("slots", c_void_p),
        ("cache_dtype", c_int),
        ("k_caches", c_void_p),
        ("v_caches", c_void_p),
        ("batch", c_void_p),
        ("out", c_void_p),
    ]


# Arguments of each function as csrc/ declares it: i int, l long, f float, p pointer.
_SIGNATURES = {
    "use_openmp": "pp",
    "rms_norm": "iiplpfplli",
    "add_rms_norm": "iiplplpfplli",
    "rotary": "ipllllppli",
    "gated_activation": "iiplplli",
    "store_kv": "iiplplpppllli",
    "advise_huge_pages": "pl",
    "pack_panels": "pllpi",
    "pack_blocks": "ppppllpi",
    "pack_int8": "ppllpi",
    "linear": "ppllipli",
    "paged_attention": "ppiplpi",
    "decode_stack": "ppi",
    "argmax": "plllpi",
    "sample": "plllppppppi",
    "apply_token_bitmask": "pllplpli",
}
_ARGUMENT_TYPES = {"i": c_int, "l": c_long, "f": c_float, "p": c_void_p}


def load_library(isa_name: str | None = None) -> ctypes.CDLL:
    """Build the kernels for this processor if they are not cached, and load them.

    Args:
        isa_name: a level of instructions, as ``detect_isa`` takes it.

    Raises:
        NoCompilerError: they are not cached and there is no compiler.
        BuildError: the compiler refused them.
        ValueError: this processor cannot run that level.
    """
    isa = detect_isa(isa_name)
    sources = sorted(SOURCES.glob("*.cpp"))
    path = build_shared_library(f"cpu-{isa.name}", sources, [*FLAGS, *isa.compiler_flags])
    library = ctypes.CDLL(str(path))
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes = [_ARGUMENT_TYPES[letter] for letter in arguments]
        function.restype = None
    _share_torchs_threads(library)
    return library


def _share_torchs_threads(library: ctypes.CDLL) -> None:
    """Let the kernels run on the OpenMP threads that torch has; without OpenMP they run on one."""
    torch_cpu = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    names = ("GOMP_parallel", "omp_get_num_threads")
    try:
        runtime = ctypes.CDLL(str(torch_cpu))
        addresses = [ctypes.cast(getattr(runtime, name), c_void_p).value for name in names]
    except (OSError, AttributeError):
        return
    library.use_openmp(*addresses)
