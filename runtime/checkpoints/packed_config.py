"""How an AWQ or GPTQ checkpoint packs its weights, as its config.json says. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ModelLoadError

_BITS = {"awq": (4,), "gptq": (2, 4, 8)}


@dataclass(frozen=True, slots=True)
class PackedConfig:
    """Values of ``bits`` bits, several to an int32, in groups that share a scale and a zero.

    Args:
        method: who packed them, which decides along what and in which order.
        bits: of a value.
        zero_offset: what GPTQ subtracted from the zeros before it stored them.
    """

    method: Literal["awq", "gptq"]
    bits: int
    zero_offset: int = 0

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> PackedConfig | None:
        """Read ``quantization_config``; None where the weights are plain.

        Raises:
            ModelLoadError: they are packed in a way that is not read here.
        """
        quantization = config.get("quantization_config")
        if not quantization:
            return None
        if not isinstance(quantization, Mapping):
            raise ModelLoadError(f"config: quantization_config is no object: {quantization!r}")
        method, bits = quantization.get("quant_method"), quantization.get("bits")
        if method not in _BITS:
            raise ModelLoadError(
                f"config: quantization_config {method!r} is not supported; use an AWQ, GPTQ or "
                "unquantised model, or a GGUF file"
            )
        if bits not in _BITS[method]:
            raise ModelLoadError(
                f"config: {method} weights of {bits!r} bits are not supported; there are "
                f"{', '.join(map(str, _BITS[method]))}"
            )
        if method == "awq":
            version = quantization.get("version", "gemm")
            if str(version).lower() != "gemm":
                raise ModelLoadError(
                    f"config: AWQ version {version!r} is not supported; the one read is 'gemm'"
                )
            return cls("awq", bits)
        second_format = quantization.get("checkpoint_format") == "gptq_v2"
        return cls("gptq", bits, zero_offset=0 if second_format else 1)
