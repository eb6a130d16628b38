"""Which implementation serves each op on a device, chosen once when an ``Ops`` is loaded."""

from __future__ import annotations

from dataclasses import dataclass
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
    paged_attention,
    rms_norm,
    rotary,
    sample,
    silu_and_mul,
    store_kv,
    token_bitmask,
)

Backend = Literal["auto", "reference", "cpu"]


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
    if backend == "auto":
        return REFERENCE
    raise ValueError(f"kernel backend {backend!r} cannot serve device {str(device)!r}")


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
        argmax=sampling.argmax,
        sample=sampling.sample,
        apply_token_bitmask_inplace=sampling.apply_token_bitmask_inplace,
        pack_decoder=DecoderPacker(library),
    )
