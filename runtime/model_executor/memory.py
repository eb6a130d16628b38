"""How many KV slots fit into memory."""

from __future__ import annotations

import psutil
import torch

from ..errors import ServerArgsError

MIN_SLOTS = 256


def available_bytes(device: torch.device) -> int:
    """Free memory of the device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def slot_bytes(num_layers: int, num_kv_heads: int, head_dim: int, dtype: torch.dtype) -> int:
    """Bytes of K and V of one token over all layers."""
    return 2 * num_layers * num_kv_heads * head_dim * dtype.itemsize


def fit_slots(budget_bytes: int, bytes_per_slot: int, useful: int, page_size: int) -> int:
    """Slots that fit into the budget, at most as many as can be useful; whole pages.

    Args:
        budget_bytes: memory that the KV cache may take.
        bytes_per_slot: see ``slot_bytes``.
        useful: more slots than this could never be filled.
        page_size: tokens to a page.

    Raises:
        ServerArgsError: not even a short request fits.
    """
    slots = min(budget_bytes // bytes_per_slot, useful)
    slots -= slots % page_size
    if slots < max(MIN_SLOTS, page_size):
        raise ServerArgsError(
            f"the KV cache would have {slots} slots of {bytes_per_slot} bytes in "
            f"{budget_bytes} bytes: raise --mem-fraction-static, or lower --context-length"
        )
    return slots
