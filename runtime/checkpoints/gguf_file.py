"""Reads the structure of a GGUF file: metadata, the tensor table, and the tensors' raw bytes.

The file is memory-mapped and every length is checked against its size, so a truncated or hostile
file is an error and not a crash. The ``gguf`` package's own reader slices a numpy array per value,
which takes over two seconds for a vocabulary of 49,152 tokens; this one takes a tenth of one.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import ModelLoadError

_MAX_DIMS = 4
_MIN_ENTRY_BYTES = 12  # of a metadata entry or a tensor's entry: bounds the counts of the header
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")  # of a string
_SCALARS: dict[int, np.dtype[Any]] = {
    0: np.dtype("u1"),
    1: np.dtype("i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}


class BlockFormat(NamedTuple):
    """How a tensor type stores values: ``elements`` of them in every ``nbytes`` bytes."""

    name: str
    elements: int
    nbytes: int


BLOCK_FORMATS: dict[int, BlockFormat] = {
    0: BlockFormat("F32", 1, 4),
    1: BlockFormat("F16", 1, 2),
    2: BlockFormat("Q4_0", 32, 18),
    3: BlockFormat("Q4_1", 32, 20),
    6: BlockFormat("Q5_0", 32, 22),
    7: BlockFormat("Q5_1", 32, 24),
    8: BlockFormat("Q8_0", 32, 34),
    10: BlockFormat("Q2_K", 256, 84),
    11: BlockFormat("Q3_K", 256, 110),
    12: BlockFormat("Q4_K", 256, 144),
    13: BlockFormat("Q5_K", 256, 176),
    14: BlockFormat("Q6_K", 256, 210),
    16: BlockFormat("IQ2_XXS", 256, 66),
    17: BlockFormat("IQ2_XS", 256, 74),
    18: BlockFormat("IQ3_XXS", 256, 98),
    19: BlockFormat("IQ1_S", 256, 50),
    20: BlockFormat("IQ4_NL", 32, 18),
    21: BlockFormat("IQ3_S", 256, 110),
    22: BlockFormat("IQ2_S", 256, 82),
    23: BlockFormat("IQ4_XS", 256, 136),
    29: BlockFormat("IQ1_M", 256, 56),
    30: BlockFormat("BF16", 1, 2),
    34: BlockFormat("TQ1_0", 256, 54),
    35: BlockFormat("TQ2_0", 256, 66),
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One entry of the tensor table; ``shape`` is in torch's order, slowest dimension first."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    start: int  # byte offset in the file
    nbytes: int

    @property
    def format(self) -> BlockFormat:
        return BLOCK_FORMATS[self.type_id]


class GGUFFile:
    """An opened GGUF file.

    Args:
        path: the file.

    Raises:
        ModelLoadError: it is no GGUF file, of an unknown version, truncated or inconsistent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Copy on write: torch wants a writable buffer, and nothing reaches the file.
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:  # ValueError: mmap refuses an empty file
            raise ModelLoadError(f"cannot read {path}: {error}") from error
        self._pos = 0
        try:
            self.metadata, self.tensors = self._read_header()
        except (struct.error, UnicodeDecodeError, MemoryError) as error:
            raise self._broken(f"the header is damaged at byte {self._pos}") from error

    def raw(self, tensor: TensorInfo) -> npt.NDArray[np.uint8]:
        """The tensor's bytes [nbytes], a view of the mapped file."""
        return np.frombuffer(self._map, np.uint8, tensor.nbytes, tensor.start)

    def forget(self) -> None:
        """Give back the memory of what was read; who still looks at it reads the file again.

        Mapped pages count as this process's memory until the system wants them for others.
        """
        self._map.madvise(mmap.MADV_DONTNEED)

    def _read_header(self) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
        if self._map[:4] != b"GGUF":
            raise ModelLoadError(f"{self.path} is not a GGUF file (it does not begin with 'GGUF')")
        self._pos = 4
        version, num_tensors, num_entries = self._unpack("<IQQ")
        if version not in (2, 3):
            raise ModelLoadError(f"{self.path} is GGUF version {version}; 2 and 3 are supported")
        self._check_room(_MIN_ENTRY_BYTES * (num_tensors + num_entries))
        metadata: dict[str, Any] = {}
        for _ in range(num_entries):
            key = self._string()
            (kind,) = self._unpack("<I")
            metadata[key] = self._value(kind)
        table = [self._tensor_entry() for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise self._broken(f"general.alignment is {alignment!r}")
        data_start = -(-self._pos // alignment) * alignment
        tensors = [self._tensor_info(*entry, data_start) for entry in table]
        return metadata, {tensor.name: tensor for tensor in tensors}

    def _tensor_entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        (num_dims,) = self._unpack("<I")
        if num_dims > _MAX_DIMS:
            raise self._broken(f"tensor {name!r} has {num_dims} dimensions")
        dims = self._unpack(f"<{num_dims}Q")
        type_id, offset = self._unpack("<IQ")
        return name, tuple(reversed(dims)), type_id, offset

    def _tensor_info(
        self, name: str, shape: tuple[int, ...], type_id: int, offset: int, data_start: int
    ) -> TensorInfo:
        block = BLOCK_FORMATS.get(type_id)
        if block is None:
            raise ModelLoadError(
                f"{self.path}: tensor {name!r} has type {type_id}, which is not supported; "
                f"known are {', '.join(b.name for b in BLOCK_FORMATS.values())}"
            )
        if shape and shape[-1] % block.elements:
            raise self._broken(f"tensor {name!r} of {block.name} has rows of {shape[-1]} values")
        nbytes = prod(shape) // block.elements * block.nbytes
        start = data_start + offset
        if start + nbytes > len(self._map):
            raise self._broken(
                f"tensor {name!r} ends at byte {start + nbytes}, the file at {len(self._map)}; "
                "it was not copied or downloaded completely"
            )
        return TensorInfo(name, shape, type_id, start, nbytes)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise self._broken(f"a value of unknown type {kind} at byte {self._pos}")
        return self._scalars(kind, 1)[0].item()

    def _array(self) -> list[str] | npt.NDArray[Any]:
        kind, count = self._unpack("<IQ")
        if kind == _STRING:
            self._check_room(8 * count)
            return [self._string() for _ in range(count)]
        if kind not in _SCALARS:
            raise self._broken(f"an array of unknown type {kind} at byte {self._pos}")
        return self._scalars(kind, count)

    def _scalars(self, kind: int, count: int) -> npt.NDArray[Any]:
        dtype = _SCALARS[kind]
        self._check_room(dtype.itemsize * count)
        values: npt.NDArray[Any] = np.frombuffer(self._map, dtype, count, self._pos)
        self._pos += values.nbytes
        return values

    def _string(self) -> str:
        (length,) = _LENGTH.unpack_from(self._map, self._pos)
        start = self._pos + 8
        self._pos = start + length
        if self._pos > len(self._map):
            self._pos = start
            self._check_room(length)
        return self._map[start : self._pos].decode()

    def _unpack(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._map, self._pos)
        self._pos += struct.calcsize(layout)
        return values

    def _check_room(self, nbytes: int) -> None:
        if nbytes > len(self._map) - self._pos:
            raise self._broken(f"the header needs {nbytes} more bytes at byte {self._pos}")

    def _broken(self, reason: str) -> ModelLoadError:
        return ModelLoadError(f"{self.path} is truncated or broken: {reason}")
