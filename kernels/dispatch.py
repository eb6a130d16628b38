"""Which implementation serves each op on a device, chosen once when an ``Ops`` is loaded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

import torch

from .cpu.attention import PagedAttentionOp
from .cpu.decoder import DecoderPacker
from .cpu.elementwise import ElementwiseOps
from .cpu.library import load_library
from .cpu.linear import LinearPacker
from .cpu.sampling import SamplingOps
from .native import BuildError, NoCompilerError, warn_of_slow_path
from .ops import (
    add_rms_norm,
    argmax,
    decoder_stack,
    gelu_tanh_and_mul,
    linear,
    moe,
    paged_attention,
    rms_norm,
    rotary,
    sample,
    silu_and_mul,
    store_kv,
    token_bitmask,
)

Backend = Literal["auto", "reference", "cpu", "triton"]


@dataclass(frozen=True, slots=True)
class Ops:
    """The ops a model is made of; each field's type says shapes and meaning."""

    rms_norm: rms_norm.RmsNorm
    add_rms_norm: add_rms_norm.AddRmsNorm
    rotary: rotary.Rotary
    silu_and_mul: silu_and_mul.SiluAndMul
    gelu_tanh_and_mul: gelu_tanh_and_mul.GeluTanhAndMul
    store_kv: store_kv.StoreKV
    paged_attention: paged_attention.PagedAttention
    pack_linear: linear.PackLinear
    route_experts: moe.RouteExperts
    pack_experts: moe.PackExperts
    argmax: argmax.Argmax
    sample: sample.Sample
    apply_token_bitmask_inplace: token_bitmask.ApplyTokenBitmaskInplace
    pack_decoder: decoder_stack.PackDecoder | None = None  # None: run the layers op by op


REFERENCE = Ops(
    rms_norm=rms_norm.reference,
    add_rms_norm=add_rms_norm.reference,
    rotary=rotary.reference,
    silu_and_mul=silu_and_mul.reference,
    gelu_tanh_and_mul=gelu_tanh_and_mul.reference,
    store_kv=store_kv.reference,
    paged_attention=paged_attention.reference,
    pack_linear=linear.reference,
    route_experts=moe.reference_route,
    pack_experts=moe.reference_experts,
    argmax=argmax.reference,
    sample=sample.reference,
    apply_token_bitmask_inplace=token_bitmask.reference,
)


def load_ops(device: torch.device, backend: str = "auto", cpu_isa: str | None = None) -> Ops:
    """Return the ops for a device.

    Args:
        device: where the tensors will live.
        backend: one implementation by name, or ``auto`` for the fastest that works here.
        cpu_isa: vector instructions of the CPU's kernels; None for the best this processor has.

    Raises:
        ValueError: the backend or the instructions are unknown, or cannot serve this device.
    """
    if backend not in get_args(Backend):
        allowed = ", ".join(get_args(Backend))
        raise ValueError(f"kernel backend {backend!r} is unknown; choose one of {allowed}")
    if backend == "reference":
        return REFERENCE
    if device.type == "cpu" and backend in ("auto", "cpu"):
        return _load_cpu_ops(cpu_isa)
    if backend == "triton" or (device.type == "cuda" and backend == "auto"):
        return _load_triton_ops(device, backend)
    if backend == "auto":
        return REFERENCE
    raise ValueError(f"kernel backend {backend!r} cannot serve device {str(device)!r}")


def _load_triton_ops(device: torch.device, backend: str) -> Ops:
    if find_spec("triton") is None:
        missing = "the package triton is not installed: pip install triton"
        if backend == "triton":
            raise ValueError(f"kernel backend 'triton': {missing}")
        warnings.warn(
            f"plain torch serves {device}, many times slower than need be: {missing}",
            RuntimeWarning,
            stacklevel=3,
        )
        return REFERENCE
    from .triton_ops.backend import load_triton_ops  # the one way to the optional package

    return load_triton_ops(device)


def _load_cpu_ops(cpu_isa: str | None) -> Ops:
    try:
        library = load_library(cpu_isa)
    except (NoCompilerError, BuildError) as error:
        warn_of_slow_path(error)
        return REFERENCE
    elementwise, sampling = ElementwiseOps(library), SamplingOps(library)
    return Ops(
        rms_norm=elementwise.rms_norm,
        add_rms_norm=elementwise.add_rms_norm,
        rotary=elementwise.rotary,
        silu_and_mul=elementwise.silu_and_mul,
        gelu_tanh_and_mul=elementwise.gelu_tanh_and_mul,
        store_kv=elementwise.store_kv,
        paged_attention=PagedAttentionOp(library),
        pack_linear=LinearPacker(library),
        route_experts=moe.reference_route,
        pack_experts=moe.reference_experts,
        argmax=sampling.argmax,
        sample=sampling.sample,
        apply_token_bitmask_inplace=sampling.apply_token_bitmask_inplace,
        pack_decoder=DecoderPacker(library),
    )
