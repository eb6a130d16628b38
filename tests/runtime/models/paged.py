"""Runs a model over a paged KV pool without a scheduler."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sglang_lang.kernels.cache_format import row_width
from sglang_lang.radix_cache.memory_pool import TokenToKVPool
from sglang_lang.runtime.checkpoints.config import ModelConfig
from sglang_lang.runtime.model_executor.forward_batch import ForwardBatch, ForwardMode
from sglang_lang.runtime.models.registry import CausalLM

MAX_CONTEXT = 256


class PagedRunner:
    """Some sequences and their slots, scattered over the pool; ``extend`` feeds them tokens.

    ``dtype`` is the pool's.
    """

    def __init__(
        self, model: CausalLM, config: ModelConfig, dtype: torch.dtype, max_requests: int
    ) -> None:
        num_slots = max_requests * MAX_CONTEXT
        self.model = model
        self.pool = TokenToKVPool(
            num_slots + 1,
            config.num_layers,
            config.num_kv_heads,
            row_width(config.head_dim, dtype),
            dtype,
            torch.device("cpu"),
        )
        shuffled = torch.randperm(num_slots, generator=torch.Generator().manual_seed(0)) + 1
        self.req_to_token = shuffled.view(max_requests, MAX_CONTEXT).int()
        self.lens = [0] * max_requests

    def extend(self, new_tokens: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Feed request b the tokens ``new_tokens[b]``; returns the logits [len, V] of each."""
        extend_lens = [len(tokens) for tokens in new_tokens]
        starts = self.lens[: len(new_tokens)]
        positions = torch.cat(
            [
                torch.arange(start, start + length)
                for start, length in zip(starts, extend_lens, strict=True)
            ]
        )
        rows = torch.repeat_interleave(torch.arange(len(new_tokens)), torch.tensor(extend_lens))
        seq_lens = [start + length for start, length in zip(starts, extend_lens, strict=True)]
        self.lens[: len(new_tokens)] = seq_lens
        batch = ForwardBatch(
            mode=ForwardMode.DECODE if max(extend_lens) == 1 else ForwardMode.EXTEND,
            input_ids=torch.tensor([token for tokens in new_tokens for token in tokens]),
            positions=positions,
            out_cache_loc=self.req_to_token[rows, positions].long(),
            req_pool_indices=torch.arange(len(new_tokens), dtype=torch.int32),
            seq_lens=torch.tensor(seq_lens, dtype=torch.int32),
            extend_lens=torch.tensor(extend_lens, dtype=torch.int32),
            query_start=torch.tensor([0, *extend_lens]).cumsum(0).int(),
            logits_rows=torch.arange(len(positions)),
            req_to_token=self.req_to_token,
            kv_pool=self.pool,
            max_extend_len=max(extend_lens),
            max_seq_len=max(seq_lens),
        )
        with torch.inference_mode():
            logits = self.model.logits(self.model.forward(batch))
        return list(torch.split(logits, extend_lens))
