"""Every block format equals the ``gguf`` package's reading of the same bytes."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch

from sglang_lang.runtime.checkpoints.gguf_dequantize import dequantize
from sglang_lang.runtime.checkpoints.gguf_file import BLOCK_FORMATS, BlockFormat

QUANTIZED = [block for block in BLOCK_FORMATS.values() if block.elements > 1]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # random bytes make infinite scales
@pytest.mark.parametrize("block", QUANTIZED, ids=lambda block: block.name)
def test_equals_the_gguf_package(block: BlockFormat) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (300, block.nbytes), dtype=np.uint8)
    expected = gguf.dequantize(raw, gguf.GGMLQuantizationType[block.name]).reshape(-1)
    values = dequantize(raw.reshape(-1), block, torch.float32).numpy()
    np.testing.assert_array_equal(values, expected)


def test_result_has_the_wanted_dtype() -> None:
    block = BlockFormat("Q8_0", 32, 34)
    raw = np.zeros(34, dtype=np.uint8)
    assert dequantize(raw, block, torch.bfloat16).dtype is torch.bfloat16


def test_floats_keep_their_dtype() -> None:
    raw = np.array([1.5, -2.0], dtype=np.float16).view(np.uint8)
    values = dequantize(raw, BlockFormat("F16", 1, 2), torch.bfloat16)
    assert values.dtype is torch.float16 and values.tolist() == [1.5, -2.0]
