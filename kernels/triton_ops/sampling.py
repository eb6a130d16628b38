"""Sampling without a sort: the order of the tokens is searched, never written down.

A float32 logit maps to an integer key of the same order, so the tokens in descending probability,
ties by lower id, are the pairs (key descending, id ascending). A prefix of that order is a key and
how many of the tokens that share it are in; every filter keeps a prefix. Where a prefix ends, and
which token a random number falls on, is found by narrowing a range of keys with passes over the row
that sum what lies at or above several keys at once; a range with one token left needs no more.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from .device_math import LOG2_E

KEY_OF_MINUS_INFINITY = tl.constexpr(-2139095041)
MANY = tl.constexpr(2147483647)


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """Launch of the sampling kernels.

    Args:
        block: logits that a program reads at a time.
        ways: keys that one pass tries.
    """

    block: int = 4096
    ways: int = 4
    num_warps: int = 16


CONFIG = SamplingConfig()


@triton.jit
def _key(x: tl.tensor) -> tl.tensor:
    """int32 in the order of float32; -0.0 counts as 0.0."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def _weight_of_key(key: tl.tensor, best: tl.tensor, slope: tl.tensor) -> tl.tensor:
    bits = key.to(tl.int32)
    x = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
    return tl.exp2((x - best) * slope).to(tl.float64)


@triton.jit
def _search(
    row: tl.tensor,
    vocab: tl.tensor,
    low: tl.tensor,  # int64, a key; what lies at or above it reaches the target
    high: tl.tensor,  # int64, a key above all
    target: tl.tensor,  # float64
    best: tl.tensor,
    slope: tl.tensor,
    BY_COUNT: tl.constexpr,  # tokens are counted; else their weights are summed
    STRICT: tl.constexpr,  # reaching is to exceed, not to equal
    BLOCK: tl.constexpr,
    WAYS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The largest key of a token such that what lies at or above it reaches the target.

    Returns the key (int64), and the count (int32) and weight (float64) of what lies above it.
    """
    count_low = tl.full((), 0, dtype=tl.int32) + vocab
    count_high = tl.full((), 0, dtype=tl.int32)
    mass_high = tl.full((), 0.0, dtype=tl.float64)
    while (high - low > 1) & (count_low - count_high > 1):
        step = (high - low + WAYS) // (WAYS + 1)
        tried = tl.minimum(low + step * (1 + tl.arange(0, WAYS)), high)  # [WAYS] int64
        keys_tried = tried.to(tl.int32)[:, None]
        counts = tl.zeros((WAYS,), dtype=tl.int32)
        masses = tl.zeros((WAYS,), dtype=tl.float64)
        for start in range(0, vocab, BLOCK):
            ids = start + tl.arange(0, BLOCK)
            x = tl.load(row + ids, mask=ids < vocab, other=float("-inf"))
            at_or_above = (_key(x)[None, :] >= keys_tried) & (ids < vocab)[None, :]
            weights = tl.exp2((x - best) * slope)[None, :]
            counts += tl.sum(at_or_above.to(tl.int32), 1)
            masses += tl.sum(tl.where(at_or_above, weights, 0.0), 1).to(tl.float64)
        if BY_COUNT:
            reached = counts.to(tl.float64) >= target
        elif STRICT:
            reached = masses > target
        else:
            reached = masses >= target
        # Rounding is monotone, so the sums fall as the keys rise and the keys reached come first.
        count_low = tl.min(tl.where(reached, counts, count_low), 0)
        count_high = tl.max(tl.where(reached, count_high, counts), 0)
        mass_high = tl.max(tl.where(reached, mass_high, masses), 0)
        low = tl.max(tl.where(reached, tried, low), 0)
        high = tl.min(tl.where(reached, high, tried), 0)
    found = tl.full((), KEY_OF_MINUS_INFINITY, dtype=tl.int64)
    for start in range(0, vocab, BLOCK):
        ids = start + tl.arange(0, BLOCK)
        x = tl.load(row + ids, mask=ids < vocab, other=float("-inf"))
        keys = _key(x).to(tl.int64)
        found = tl.maximum(found, tl.max(tl.where(keys < high, keys, KEY_OF_MINUS_INFINITY), 0))
    return found, count_high, mass_high


@triton.jit
def _prefix(
    row: tl.tensor,
    vocab: tl.tensor,
    key: tl.tensor,
    ties: tl.tensor,
    best: tl.tensor,
    slope: tl.tensor,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Weight (float64) of a prefix, and how many tokens of its last key exist and are in."""
    above = tl.full((), 0.0, dtype=tl.float64)
    present = tl.full((), 0, dtype=tl.int32)
    for start in range(0, vocab, BLOCK):
        ids = start + tl.arange(0, BLOCK)
        x = tl.load(row + ids, mask=ids < vocab, other=float("-inf"))
        keys = _key(x)
        weights = tl.exp2((x - best) * slope)
        above += tl.sum(tl.where(keys > key, weights, 0.0), 0).to(tl.float64)
        present += tl.sum(((keys == key) & (ids < vocab)).to(tl.int32), 0)
    kept = tl.minimum(ties, present)
    return above + kept.to(tl.float64) * _weight_of_key(key, best, slope), kept


@triton.jit
def _lowest_key_of_weight(
    row: tl.tensor,
    vocab: tl.tensor,
    least: tl.tensor,
    best: tl.tensor,
    slope: tl.tensor,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """The smallest key (int64) of a token of at least this weight; the likeliest one weighs 1."""
    lowest = tl.full((), MANY, dtype=tl.int64)
    for start in range(0, vocab, BLOCK):
        ids = start + tl.arange(0, BLOCK)
        x = tl.load(row + ids, mask=ids < vocab, other=float("-inf"))
        heavy = tl.exp2((x - best) * slope) >= least
        lowest = tl.minimum(lowest, tl.min(tl.where(heavy, _key(x).to(tl.int64), MANY), 0))
    return lowest


@triton.jit
def _id_of(
    row: tl.tensor, vocab: tl.tensor, key: tl.tensor, ordinal: tl.tensor, BLOCK: tl.constexpr
) -> tl.tensor:
    """The id (int64) of the token that has ``ordinal`` others of its key before it."""
    seen = tl.full((), 0, dtype=tl.int32)
    chosen = tl.full((), 0, dtype=tl.int64)
    for start in range(0, vocab, BLOCK):
        ids = start + tl.arange(0, BLOCK)
        x = tl.load(row + ids, mask=ids < vocab, other=float("-inf"))
        same = ((_key(x) == key) & (ids < vocab)).to(tl.int32)
        is_it = (same > 0) & (seen + tl.cumsum(same, 0) - 1 == ordinal)
        chosen += tl.sum(tl.where(is_it, ids, 0), 0).to(tl.int64)
        seen += tl.sum(same, 0)
    return chosen


@triton.jit
def _share(mass: tl.tensor, weight: tl.tensor) -> tl.tensor:
    """How many tokens of this weight the mass holds (float64), MANY if they weigh nothing."""
    return tl.where(weight > 0, tl.minimum(mass / tl.where(weight > 0, weight, 1.0), MANY), MANY)


@triton.jit
def _sample_kernel(
    logits: tl.tensor,
    temperatures: tl.tensor,
    top_ks: tl.tensor,
    top_ps: tl.tensor,
    min_ps: tl.tensor,
    uniforms: tl.tensor,
    drawn: tl.tensor,
    stride: tl.tensor,
    vocab: tl.tensor,
    BLOCK: tl.constexpr,
    WAYS: tl.constexpr,
) -> None:
    """Program (row)."""
    index = tl.program_id(0).to(tl.int64)
    row = logits + index * stride
    largest = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    for start in range(0, vocab, BLOCK):
        ids = start + tl.arange(0, BLOCK)
        largest = tl.maximum(largest, tl.load(row + ids, mask=ids < vocab, other=float("-inf")))
    best = tl.max(largest, 0)
    slope = LOG2_E / tl.load(temperatures + index).to(tl.float32)
    high = _key(best).to(tl.int64) + 1

    # The prefix that is kept: tokens above ``key`` and the first ``ties`` of those at it.
    key = tl.full((), KEY_OF_MINUS_INFINITY, dtype=tl.int64)
    ties = tl.full((), MANY, dtype=tl.int32)
    top_k = tl.load(top_ks + index).to(tl.int32)
    if top_k < vocab:
        key, above, _ = _search(
            row, vocab, key, high, top_k.to(tl.float64), best, slope, True, False, BLOCK, WAYS
        )
        ties = top_k - above
    top_p = tl.load(top_ps + index).to(tl.float64)
    if top_p < 1.0:
        mass, _ = _prefix(row, vocab, key, ties, best, slope, BLOCK)
        nucleus = top_p * mass
        at, _, before = _search(
            row, vocab, key, high, nucleus, best, slope, False, False, BLOCK, WAYS
        )
        needed = tl.ceil(_share(nucleus - before, _weight_of_key(at, best, slope)))
        needed = tl.maximum(needed, 1.0).to(tl.int32)
        ties = tl.where(at == key, tl.minimum(ties, needed), needed)
        key = at
    min_p = tl.load(min_ps + index).to(tl.float32)
    if min_p > 0.0:
        lowest = _lowest_key_of_weight(row, vocab, min_p, best, slope, BLOCK)
        ties = tl.where(lowest > key, MANY, ties)
        key = tl.maximum(lowest, key)

    mass, kept = _prefix(row, vocab, key, ties, best, slope, BLOCK)
    target = tl.load(uniforms + index).to(tl.float64) * mass
    at, _, before = _search(row, vocab, key, high, target, best, slope, False, True, BLOCK, WAYS)
    ordinal = _share(target - before, _weight_of_key(at, best, slope)).to(tl.int32)
    ordinal = tl.where(at == key, tl.minimum(ordinal, kept - 1), ordinal)
    tl.store(drawn + index, _id_of(row, vocab, at, ordinal, BLOCK))


def sample(
    logits: Tensor,
    temperatures: Tensor,
    top_ks: Tensor,
    top_ps: Tensor,
    min_ps: Tensor,
    uniforms: Tensor,
) -> Tensor:
    num_rows, vocab = logits.shape
    drawn = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    if num_rows:
        _sample_kernel[(num_rows,)](
            logits, temperatures, top_ks, top_ps, min_ps, uniforms, drawn, logits.stride(0), vocab,
            BLOCK=_block(vocab), WAYS=CONFIG.ways, num_warps=CONFIG.num_warps,
        )  # fmt: skip
    return drawn


@triton.jit
def _argmax_kernel(
    logits: tl.tensor,
    out: tl.tensor,
    stride: tl.tensor,
    vocab: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Program (row); every lane keeps its own best and the first id it saw it at."""
    index = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    best = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    at = lanes
    for start in range(0, vocab, BLOCK):
        ids = start + lanes
        x = tl.load(logits + index * stride + ids, mask=ids < vocab, other=float("-inf"))
        at = tl.where(x > best, ids, at)
        best = tl.maximum(x, best)
    first = tl.min(tl.where(best == tl.max(best, 0), at, MANY), 0)
    tl.store(out + index, first.to(tl.int64))


def argmax(logits: Tensor) -> Tensor:
    num_rows, vocab = logits.shape
    out = torch.empty(num_rows, dtype=torch.int64, device=logits.device)
    if num_rows:
        _argmax_kernel[(num_rows,)](
            logits, out, logits.stride(0), vocab, BLOCK=_block(vocab), num_warps=CONFIG.num_warps
        )
    return out


@triton.jit
def _bitmask_kernel(
    logits: tl.tensor,
    bitmask: tl.tensor,
    rows: tl.tensor,
    stride: tl.tensor,
    mask_stride: tl.tensor,
    vocab: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Program (row of the bitmask, block of tokens)."""
    row = tl.load(rows + tl.program_id(0)).to(tl.int64)
    ids = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    words = bitmask + tl.program_id(0).to(tl.int64) * mask_stride + ids // 32
    word = tl.load(words, mask=ids < vocab, other=-1)
    forbidden = ((word >> (ids % 32)) & 1) == 0
    refused = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    tl.store(logits + row * stride + ids, refused, mask=forbidden & (ids < vocab))


def apply_token_bitmask_inplace(logits: Tensor, bitmask: Tensor, rows: Tensor) -> None:
    vocab, masked = logits.shape[1], bitmask.shape[0]
    if masked:
        block = _block(vocab)
        _bitmask_kernel[(masked, triton.cdiv(vocab, block))](
            logits, bitmask, rows, logits.stride(0), bitmask.stride(0), vocab, BLOCK=block,
            num_warps=4,
        )  # fmt: skip


def _block(vocab: int) -> int:
    return min(CONFIG.block, int(triton.next_power_of_2(vocab)))
