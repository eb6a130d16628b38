"""The step that decode and extend attention share: one tile of keys and values, softmax on line.

Online softmax: FlashAttention-2 (Dao 2023, section 3.1). Exponentials are to base 2, so scores and
their maxima are in units of log2(e).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .device_math import LOG2_E, dot, tanh, whole


@triton.jit
def attend_tile(
    q: tl.tensor,  # [M, BLOCK_D]
    best: tl.tensor,  # [M] largest score so far
    total: tl.tensor,  # [M] sum of the exponentials so far
    mixed: tl.tensor,  # [M, BLOCK_D] float32 sum of the values so far
    slots: tl.tensor,  # [N] int64
    valid: tl.tensor,  # [N] keys that exist
    visible: tl.tensor,  # [M, N] or [1, N] keys that each query sees; all exist
    k_cache: tl.tensor,  # the KV head's first slot
    v_cache: tl.tensor,
    k_scales: tl.tensor,  # the same of an int8 cache, as float32
    v_scales: tl.tensor,
    k_stride: tl.tensor,  # elements from slot to slot
    v_stride: tl.tensor,
    scale: tl.tensor,
    SOFT_CAP: tl.constexpr,  # 0 for none
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    INT8: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Returns best, total and mixed with the tile taken in."""
    channels = tl.arange(0, BLOCK_D)
    mask = valid[:, None] & (channels < HEAD_DIM)[None, :]
    k_rows = k_cache + slots[:, None] * k_stride + channels[None, :]
    k = tl.load(k_rows, mask=mask, other=0.0)
    k = whole(k, q.dtype) if INT8 else k.to(q.dtype)
    scores = tl.zeros((q.shape[0], slots.shape[0]), dtype=tl.float32)
    scores = dot(q, tl.trans(k), scores) * scale
    if INT8:
        scores *= tl.load(k_scales + slots * (k_stride // 4), mask=valid, other=0.0)[None, :]
    if SOFT_CAP > 0:
        scores = SOFT_CAP * tanh(scores / SOFT_CAP)
    scores = tl.where(visible, scores * LOG2_E, float("-inf"))

    new_best = tl.maximum(best, tl.max(scores, 1))
    # A query that sees nothing yet has no finite maximum to subtract.
    shift = tl.where(new_best == float("-inf"), 0.0, new_best)
    kept = tl.exp2(best - shift)
    weights = tl.exp2(scores - shift[:, None])
    new_total = total * kept + tl.sum(weights, 1)

    v_rows = v_cache + slots[:, None] * v_stride + channels[None, :]
    v = tl.load(v_rows, mask=mask, other=0.0)
    v = whole(v, q.dtype) if INT8 else v.to(q.dtype)
    if INT8:
        weights *= tl.load(v_scales + slots * (v_stride // 4), mask=valid, other=0.0)[None, :]
    new_mixed = dot(weights.to(q.dtype), v, mixed * kept[:, None])
    return new_best, new_total, new_mixed
