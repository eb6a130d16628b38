"""Unpacked GGUF blocks are what the gguf package makes of them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

from sglang_lang.kernels.block_weight import GGUF_FORMATS, GGUFWeight, merge


def random_weight(kind: str, out_features: int = 5, in_features: int = 512) -> GGUFWeight:
    """Random bytes, which every format takes, with scales that are ordinary numbers."""
    bytes_per_block, _ = GGUF_FORMATS[kind]
    values_per_block = 256 if kind.endswith("K") else 32
    generator = torch.Generator().manual_seed(len(kind) + out_features)
    shape = (out_features, in_features // values_per_block, bytes_per_block)
    raw = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    halves = {"Q4_0": [0], "Q8_0": [0], "Q6_K": [208]}.get(kind, [0, 2])
    for start in halves:
        scale = 0.01 + 0.05 * torch.rand(shape[:2], generator=generator)
        raw[..., start : start + 2] = scale.half().unsqueeze(-1).view(torch.uint8)
    return GGUFWeight(kind, raw.flatten(1), (out_features, in_features))


@pytest.mark.parametrize("kind", GGUF_FORMATS)
def test_every_format_is_read_as_gguf_reads_it(kind: str) -> None:
    weight = random_weight(kind)
    expected = gguf.dequantize(weight.raw.numpy(), gguf.GGMLQuantizationType[kind])
    assert expected.shape == weight.shape
    np.testing.assert_allclose(weight.dequantize().numpy(), expected, rtol=1e-6, atol=1e-6)


def test_an_unknown_format_is_refused_by_name() -> None:
    weight = GGUFWeight("IQ2_XS", torch.zeros(1, 74, dtype=torch.uint8), (1, 256))
    with pytest.raises(ValueError, match="'IQ2_XS'.*Q4_0"):
        weight.unpack()


def test_matrices_of_one_format_merge_by_rows() -> None:
    parts = [random_weight("Q4_K", rows) for rows in (3, 4)]
    merged = merge(parts)
    assert merged is not None
    assert torch.equal(merged.dequantize(), torch.cat([part.dequantize() for part in parts]))
    assert merge([random_weight("Q4_K"), random_weight("Q6_K")]) is None


def test_blocks_of_one_layout_merge_by_rows() -> None:
    parts = [random_weight("Q4_1", rows).unpack() for rows in (3, 4)]
    merged = merge(parts)
    assert merged is not None
    assert torch.equal(merged.dequantize(), torch.cat([part.dequantize() for part in parts]))
    assert merge([parts[0], random_weight("Q4_0").unpack()]) is None
    assert merge([parts[0], random_weight("Q4_1")]) is None
