"""The Triton implementation of every op; importing it needs the package triton."""

from __future__ import annotations

import torch

from ..dispatch import Ops
from . import elementwise, moe, norm, sampling
from .attention import PagedAttention
from .device_math import INTERPRETED
from .linear import LinearPacker

INTERPRETED_SMS = 4  # what the interpreter pretends: enough for splits, few enough to be quick


def load_triton_ops(device: torch.device) -> Ops:
    """The ops for an NVIDIA GPU, or for the CPU under Triton's interpreter.

    Raises:
        ValueError: the device is no GPU, and TRITON_INTERPRET=1 was not set at the first import.
    """
    if device.type == "cuda":
        num_sms = torch.cuda.get_device_properties(device).multi_processor_count
    elif INTERPRETED.value:
        num_sms = INTERPRETED_SMS
    else:
        raise ValueError(
            f"kernel backend 'triton' cannot serve device {str(device)!r}; it needs an NVIDIA GPU, "
            "or TRITON_INTERPRET=1 for tests"
        )
    return Ops(
        rms_norm=norm.rms_norm,
        add_rms_norm=norm.add_rms_norm,
        rotary=elementwise.rotary,
        silu_and_mul=elementwise.silu_and_mul,
        gelu_tanh_and_mul=elementwise.gelu_tanh_and_mul,
        store_kv=elementwise.store_kv,
        paged_attention=PagedAttention(num_sms),
        pack_linear=LinearPacker(num_sms),
        route_experts=moe.route_experts,
        pack_experts=moe.pack_experts,
        argmax=sampling.argmax,
        sample=sampling.sample,
        apply_token_bitmask_inplace=sampling.apply_token_bitmask_inplace,
    )
