"""Paged attention: which kernel serves a step, and how it is launched.

Nothing of a step's lengths is read on the host: shapes alone fix the launch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .decode_attention import decode_kernel, reduce_kernel
from .elementwise import cache_scales
from .extend_attention import extend_kernel
from .ragged import max_tiles

SMALLEST_DOT = 16  # rows, columns and depth of a matrix instruction
LARGEST_GROUP = 64  # query heads of one KV head that one program takes


@dataclass(frozen=True, slots=True)
class DecodeConfig:
    """Launch of the decode kernels.

    Args:
        block_n: keys of a tile.
        programs_per_sm: how many programs the splits should at least make for each multiprocessor.
        keys_per_split: no request is split into parts of fewer keys ...
        longest_split: ... and a request of the longest context into parts of no more.
        max_splits: parts of a request.
    """

    block_n: int = 64
    num_warps: int = 4
    num_stages: int = 3
    programs_per_sm: int = 4
    keys_per_split: int = 256
    longest_split: int = 8192
    max_splits: int = 64


@dataclass(frozen=True, slots=True)
class ExtendConfig:
    """Launch of the extend kernel: tiles of query rows (tokens times heads of a group) by keys."""

    block_m: int = 128
    block_n: int = 64
    num_warps: int = 8
    num_stages: int = 2


@dataclass(frozen=True, slots=True)
class PagedAttention:
    """``paged_attention`` on one device.

    A step of as many tokens as requests runs as decode, with the keys of each request split over
    several programs (Flash-Decoding, Dao et al. 2023); any other as extend. Both give the right
    result for any lengths; the choice is one of speed.

    Args:
        num_sms: multiprocessors of the device.
    """

    num_sms: int
    decode: DecodeConfig = DecodeConfig()
    extend: ExtendConfig = ExtendConfig()

    def __call__(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        req_to_token: Tensor,
        req_pool_indices: Tensor,
        seq_lens: Tensor,
        query_start: Tensor,
        scale: float,
        window: int | None,
        soft_cap: float | None,
    ) -> Tensor:
        caches = (k_cache, v_cache, cache_scales(k_cache), cache_scales(v_cache))
        batch = (req_to_token, req_pool_indices, seq_lens, query_start)
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        if q.shape[0] == 0:
            return out
        run = self._decode if q.shape[0] == seq_lens.shape[0] else self._extend
        run(q, caches, batch, out, scale, window, soft_cap)
        return out

    def _decode(
        self,
        q: Tensor,
        caches: tuple[Tensor, ...],
        batch: tuple[Tensor, ...],
        out: Tensor,
        scale: float,
        window: int | None,
        soft_cap: float | None,
    ) -> None:
        config = self.decode
        num_tokens, num_heads, head_dim = q.shape
        num_kv_heads = caches[0].shape[1]
        group = num_heads // num_kv_heads
        block_h = min(max(triton.next_power_of_2(group), SMALLEST_DOT), LARGEST_GROUP)
        head_blocks = triton.cdiv(group, block_h)
        splits = self._num_splits(num_tokens * num_kv_heads * head_blocks, batch[0].shape[1])
        parts = torch.empty(
            (num_tokens, num_heads, splits, head_dim), dtype=torch.float32, device=q.device
        )
        log_sums = torch.empty(parts.shape[:3], dtype=torch.float32, device=q.device)
        decode_kernel[(num_tokens, num_kv_heads * head_blocks, splits)](
            q, *caches, *batch, parts, log_sums, len(batch[2]), q.stride(0), caches[0].stride(0),
            caches[1].stride(0), batch[0].stride(0), scale,
            WINDOW=window or 0, SOFT_CAP=soft_cap or 0.0, HEAD_DIM=head_dim,
            ROW_WIDTH=caches[0].shape[2], GROUP=group, KV_HEADS=num_kv_heads, SPLITS=splits,
            KEYS_PER_SPLIT=config.keys_per_split, INT8=caches[0].dtype is torch.int8,
            BLOCK_B=triton.next_power_of_2(len(batch[2])), BLOCK_H=block_h,
            BLOCK_D=_padded(head_dim), BLOCK_N=_keys(config.block_n, q),
            num_warps=config.num_warps, num_stages=config.num_stages,
        )  # fmt: skip
        reduce_kernel[(num_tokens * num_heads,)](
            parts, log_sums, out, HEAD_DIM=head_dim, BLOCK_D=_padded(head_dim), SPLITS=splits,
            num_warps=2,
        )  # fmt: skip

    def _extend(
        self,
        q: Tensor,
        caches: tuple[Tensor, ...],
        batch: tuple[Tensor, ...],
        out: Tensor,
        scale: float,
        window: int | None,
        soft_cap: float | None,
    ) -> None:
        config = self.extend
        num_tokens, num_heads, head_dim = q.shape
        num_requests, num_kv_heads = len(batch[2]), caches[0].shape[1]
        group = num_heads // num_kv_heads
        rows = triton.next_power_of_2(triton.cdiv(num_tokens, num_requests) * group)
        most = max(config.block_m, triton.next_power_of_2(group))
        block_m = min(max(rows, triton.next_power_of_2(group), SMALLEST_DOT), most)
        tiles = max_tiles(num_tokens, num_requests, block_m // group)
        extend_kernel[(tiles, num_kv_heads)](
            q, *caches, *batch, out, num_requests, q.stride(0), caches[0].stride(0),
            caches[1].stride(0), batch[0].stride(0), scale,
            WINDOW=window or 0, SOFT_CAP=soft_cap or 0.0, HEAD_DIM=head_dim,
            ROW_WIDTH=caches[0].shape[2], GROUP=group, KV_HEADS=num_kv_heads,
            INT8=caches[0].dtype is torch.int8,
            BLOCK_B=triton.next_power_of_2(num_requests), BLOCK_M=block_m,
            BLOCK_D=_padded(head_dim), BLOCK_N=_keys(config.block_n, q),
            num_warps=config.num_warps if block_m >= 128 else 4, num_stages=config.num_stages,
        )  # fmt: skip

    def _num_splits(self, programs: int, max_context: int) -> int:
        """Parts of every request: enough programs for the device, and no part too long.

        It hangs on shapes alone, so a captured graph keeps it; parts that a request is too short
        for end at once.
        """
        config = self.decode
        for_device = triton.cdiv(config.programs_per_sm * self.num_sms, programs)
        for_length = triton.cdiv(max_context, config.longest_split)
        useful = triton.cdiv(max_context, config.keys_per_split)
        wanted = min(max(for_device, for_length), useful, config.max_splits)
        return int(triton.next_power_of_2(wanted))


def _padded(head_dim: int) -> int:
    return max(int(triton.next_power_of_2(head_dim)), SMALLEST_DOT)


def _keys(block_n: int, q: Tensor) -> int:
    """Fewer keys at a time where elements are wide or heads are large: tiles live on the chip."""
    return block_n // 2 if q.itemsize * q.shape[2] > 256 else block_n
