"""What the model sees of a batch: tensors, and nothing of requests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import torch

from sglang_lang.radix_cache.memory_pool import TokenToKVPool


class ForwardMode(Enum):
    EXTEND = auto()  # some request brings several tokens: new prompt tokens or forced text
    DECODE = auto()  # every request brings exactly one token


@dataclass(slots=True)
class ForwardBatch:
    """One step of the model over B requests that bring T new tokens together.

    The tokens of request b are rows ``query_start[b] : query_start[b + 1]``; they are the last
    ``extend_lens[b]`` of its ``seq_lens[b]`` tokens. Request b's token at position p lies in KV
    slot ``req_to_token[req_pool_indices[b], p]``.

    T = sum(extend_lens), B requests, R rows of logits.
    """

    mode: ForwardMode
    input_ids: torch.Tensor  # [T] int64
    positions: torch.Tensor  # [T] int64
    out_cache_loc: torch.Tensor  # [T] int64, the KV slot each new token is written to
    req_pool_indices: torch.Tensor  # [B] int32
    seq_lens: torch.Tensor  # [B] int32, tokens once this step has run
    extend_lens: torch.Tensor  # [B] int32, new tokens of this step
    query_start: torch.Tensor  # [B + 1] int32, exclusive prefix sum of extend_lens
    logits_rows: torch.Tensor  # [R] int64, rows of the T whose logits are wanted
    req_to_token: torch.Tensor  # [max_requests, max_context] int32
    kv_pool: TokenToKVPool
    max_extend_len: int
    max_seq_len: int
