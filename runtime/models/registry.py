"""From a checkpoint to a model that runs. A family is a file of this folder with a ``build``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Literal, Protocol

import torch

from sglang_lang.kernels.block_weight import quantize_int4
from sglang_lang.kernels.dispatch import Ops
from sglang_lang.kernels.int8_weight import quantize_int8
from sglang_lang.kernels.ops.linear import Linear, Weight

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.weights import Weights
from ..errors import ModelLoadError
from ..model_executor.forward_batch import ForwardBatch

Quantization = Literal["gguf", "awq", "gptq", "int8", "int4"]

ROUNDING: dict[str, Callable[[torch.Tensor], Weight]] = {
    "int8": quantize_int8,
    "int4": quantize_int4,
}


class CausalLM(Protocol):
    """A decoder as its callers see it."""

    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        """The last hidden states [T, H] of the batch's tokens; stores their K and V."""
        ...

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden [R, H] -> [R, V] float32, new memory."""
        ...


def load_model(
    checkpoint: Checkpoint,
    ops: Ops,
    dtype: torch.dtype,
    device: torch.device,
    context_len: int | None = None,
    quantization: Quantization | None = None,
) -> CausalLM:
    """Read a checkpoint's weights into a model.

    Args:
        checkpoint: from ``open_checkpoint``.
        ops: what the layers compute with.
        dtype: of weights and activations (norm weights stay float32).
        device: where they lie.
        context_len: the longest sequence that will come, if below the model's own; rotary tables
            need memory for each position.
        quantization: how matrices are held; with one, dtype must be bfloat16 and the device a
            CPU. ``gguf``, ``awq``, ``gptq``: as such a checkpoint stores them. ``int8``, ``int4``:
            rounded as they load.

    Raises:
        ModelLoadError: a weight is missing, has the wrong shape, or would go unread; or the
            weights cannot stay quantised.
    """
    if quantization and (dtype is not torch.bfloat16 or device.type != "cpu"):
        raise ModelLoadError(
            f"quantised weights are computed with in bfloat16 on a CPU, not in {dtype} on {device}"
        )
    config = checkpoint.config
    if context_len is not None:
        config = replace(config, context_len=min(context_len, config.context_len))
    family = import_module(f".{config.family}", __package__)  # one of config.FAMILIES
    stored = None if quantization == "int8" or quantization == "int4" else quantization
    weights = Weights(checkpoint.weights(dtype, stored), dtype, device)
    if quantization in ROUNDING:
        ops = _rounding_first(ops, ROUNDING[quantization])
    with torch.inference_mode(), _one_thread():
        model: CausalLM = family.build(config, weights, ops)
    weights.check_all_read()
    return model


def _rounding_first(ops: Ops, quantize: Callable[[torch.Tensor], Weight]) -> Ops:
    """The same ops, but what is packed is rounded before."""

    def pack_linear(weight: Weight, bias: torch.Tensor | None) -> Linear:
        rounded = quantize(weight) if isinstance(weight, torch.Tensor) else weight
        return ops.pack_linear(rounded, bias)

    return replace(ops, pack_linear=pack_linear)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Loading is thousands of short ops; with two threads each waits for a core that is busy.

    Measured for the embedded model: 0.4 s on one thread; on two 0.3 s on an idle machine, and 14 s
    on one with both cores taken.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
