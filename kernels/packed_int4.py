"""Four-bit weights as AWQ and GPTQ checkpoints pack them, as ``BlockWeight``.

Both put eight values into an int32, and share a scale and a zero point between ``group`` inputs of
an output channel: a value stands for ``scale * (value - zero)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .block_weight import BlockWeight

VALUES_PER_WORD = 8
# AWQ (Lin et al. 2023) interleaves the channels of a word: nibble i holds channel _AWQ_ORDER[i].
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def _nibbles(words: Tensor, dim: int) -> Tensor:
    """int32 to uint8 with eight times the size in ``dim``, lowest bits first."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32, device=words.device)
    shape = [1] * (words.dim() + 1)
    shape[dim + 1] = VALUES_PER_WORD
    values = (words.unsqueeze(dim + 1) >> shifts.view(shape)) & 0xF
    return values.to(torch.uint8).flatten(dim, dim + 1)


def unpack_awq(qweight: Tensor, qzeros: Tensor, scales: Tensor) -> BlockWeight:
    """A matrix of an AWQ checkpoint ("gemm" version).

    Args:
        qweight: [in, out / 8] int32.
        qzeros: [in / group, out / 8] int32.
        scales: [in / group, out], floating.
    """
    place = torch.tensor(_AWQ_ORDER, device=qweight.device).argsort()

    def channels(words: Tensor) -> Tensor:
        return _nibbles(words, 1).view(len(words), -1, VALUES_PER_WORD)[..., place].flatten(1)

    return _block_weight(channels(qweight), channels(qzeros), scales)


def unpack_gptq(
    qweight: Tensor, qzeros: Tensor, scales: Tensor, g_idx: Tensor | None = None
) -> BlockWeight:
    """A matrix of a GPTQ checkpoint (Frantar et al. 2022; "v1": zero points are stored less one).

    Args:
        qweight: [in / 8, out] int32.
        qzeros: [in / group, out / 8] int32.
        scales: [in / group, out], floating.
        g_idx: [in], the group of each input, where the checkpoint has it.

    Raises:
        ValueError: g_idx does not go through the groups in order (``desc_act``).
    """
    values = _nibbles(qweight, 0)
    group = values.shape[0] // scales.shape[0]
    if g_idx is not None:
        in_order = torch.arange(values.shape[0], device=g_idx.device) // group
        if not torch.equal(g_idx.long(), in_order):
            raise ValueError(
                "g_idx: the groups of this GPTQ matrix are not in the order of its inputs "
                "(desc_act=True); there is no kernel for that, use a checkpoint without it"
            )
    return _block_weight(values, _nibbles(qzeros, 1) + 1, scales)


def _block_weight(values: Tensor, zeros: Tensor, scales: Tensor) -> BlockWeight:
    """values [in, out], zeros and scales [in / group, out]."""
    steps = scales.float()
    return BlockWeight(
        values.t().contiguous(),
        4,
        steps.t().contiguous(),
        (-steps * zeros.float()).t().contiguous(),
    )
