"""Logits to token ids and logprobs: edits, grammar mask, greedy or filtered random draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sglang_lang.kernels.dispatch import Ops

from .step import LogitEdit, SamplingBatch, TokenLogprob

SCORED_ROWS_AT_ONCE = 256  # bounds the memory of full-vocabulary logprobs


class Sampler:
    """Draws the next token of each sampled row.

    Args:
        ops: kernels for the random draw and the mask.
        device: where the logits live.
    """

    def __init__(self, ops: Ops, device: torch.device) -> None:
        self._ops = ops
        self._device = device

    def sample(
        self,
        logits: torch.Tensor,
        batch: SamplingBatch,
        bitmask: npt.NDArray[np.int32] | None,
    ) -> torch.Tensor:
        """Choose one id per row; changes ``logits`` in place.

        Args:
            logits: [R, V] fp32.
            batch: settings of the R rows.
            bitmask: [len(constrained_rows), ceil(V / 32)] allowed tokens of those rows.

        Returns:
            [R] int64 token ids on the device.
        """
        for edit in batch.edits:
            _apply_edit(logits, edit)
        if bitmask is not None:
            self._ops.apply_token_bitmask_inplace(
                logits,
                torch.from_numpy(bitmask).to(self._device),
                self._ids(batch.constrained_rows),
            )
        drawn = [i for i, temperature in enumerate(batch.temperatures) if temperature > 0.0]
        if not drawn:
            return self._ops.argmax(logits)
        if len(drawn) == len(batch.temperatures):
            return self._draw(logits, batch, drawn)
        ids = self._ops.argmax(logits)
        rows = self._ids(drawn)
        ids[rows] = self._draw(logits[rows], batch, drawn)
        return ids

    def _draw(self, logits: torch.Tensor, batch: SamplingBatch, rows: list[int]) -> torch.Tensor:
        def column(values: list[float] | list[int], dtype: torch.dtype) -> torch.Tensor:
            return torch.tensor([values[i] for i in rows], dtype=dtype, device=self._device)

        return self._ops.sample(
            logits,
            column(batch.temperatures, torch.float32),
            column(batch.top_ks, torch.int32),
            column(batch.top_ps, torch.float32),
            column(batch.min_ps, torch.float32),
            column(batch.uniforms, torch.float32),
        )

    def _ids(self, values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)


def _apply_edit(logits: torch.Tensor, edit: LogitEdit) -> None:
    ids = torch.from_numpy(edit.token_ids).to(logits.device)
    values = logits[edit.row, ids]
    if edit.scale != 1.0:
        values = torch.where(values > 0, values / edit.scale, values * edit.scale)
    add = edit.add if isinstance(edit.add, float) else torch.from_numpy(edit.add).to(logits.device)
    logits[edit.row, ids] = values + add


def token_logprobs(
    logits: torch.Tensor, targets: torch.Tensor, tops: list[int], chosen: list[list[int]]
) -> list[TokenLogprob]:
    """Log-softmax of each row, read at its target, its likeliest and its chosen tokens.

    Args:
        logits: [N, V] fp32, as the model gave them (before edits, mask and temperature).
        targets: [N] int64.
        tops: how many likeliest tokens each row returns.
        chosen: token ids whose logprob each row returns as well.
    """
    out: list[TokenLogprob] = []
    for begin in range(0, logits.shape[0], SCORED_ROWS_AT_ONCE):
        end = min(begin + SCORED_ROWS_AT_ONCE, logits.shape[0])
        logprobs = torch.log_softmax(logits[begin:end], dim=-1)
        values = logprobs.gather(1, targets[begin:end, None])[:, 0].tolist()
        most = min(max(tops[begin:end], default=0), logits.shape[1])
        best = logprobs.topk(most, dim=-1) if most else None
        best_values = best.values.tolist() if best else []
        best_ids = best.indices.tolist() if best else []
        for i in range(end - begin):
            top = tops[begin + i]
            wanted = chosen[begin + i]
            out.append(
                TokenLogprob(
                    values[i],
                    list(zip(best_values[i][:top], best_ids[i][:top], strict=True)) if top else [],
                    list(zip(logprobs[i, wanted].tolist(), wanted, strict=True)) if wanted else [],
                )
            )
    return out


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on nothing but the seed and the token's position.

    SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014) over seed and position.
    """
    mask = (1 << 64) - 1
    x = (seed * 0x9E3779B97F4A7C15 + (position + 1) * 0xD1342543DE82EF95) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return ((x ^ (x >> 31)) >> 40) / float(1 << 24)
