"""The memory behind the cache: which slots a request uses, and the K and V rows in the slots.

It knows tensors and indices; what is free and what is shared is decided elsewhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Int32Array = npt.NDArray[np.int32]


class ReqToTokenPool:
    """One row for each running request: the KV slot of every position.

    The rows live in host memory for the scheduler and as ``table`` on the device for attention; on
    a CPU both are the same memory.

    Args:
        size: requests at one time.
        max_context_len: positions of a request.
        device: where ``table`` lies.
    """

    def __init__(self, size: int, max_context_len: int, device: torch.device) -> None:
        self.size = size
        self.max_context_len = max_context_len
        self._host = np.zeros((size, max_context_len), dtype=np.int32)
        self.table = torch.from_numpy(self._host).to(device)  # [size, max_context_len] int32
        self._is_mirrored = self.table.device.type != "cpu"
        self.reset()

    def reset(self) -> None:
        """Take every row back."""
        self._free = list(range(self.size - 1, -1, -1))

    def available(self) -> int:
        return len(self._free)

    def alloc(self) -> int | None:
        """A free row, or None."""
        return self._free.pop() if self._free else None

    def free(self, idx: int) -> None:
        assert idx not in self._free, f"row {idx} freed twice"
        self._free.append(idx)

    def write(self, idx: int, start: int, slots: Int32Array) -> None:
        """Set the slots of positions ``start ..`` of row ``idx``."""
        self._host[idx, start : start + len(slots)] = slots
        if self._is_mirrored:
            self._upload((idx, slice(start, start + len(slots))), slots)

    def write_batch(self, indices: Int32Array, positions: Int32Array, slots: Int32Array) -> None:
        """Set one slot for each of B rows: ``table[indices[b], positions[b]] = slots[b]``."""
        self._host[indices, positions] = slots
        if self._is_mirrored:
            self._upload((torch.from_numpy(indices), torch.from_numpy(positions)), slots)

    def read_batch(self, indices: Int32Array, positions: npt.NDArray[np.integer]) -> Int32Array:
        """One slot for each of B rows: ``table[indices[b], positions[b]]`` [B]."""
        out: Int32Array = self._host[indices, positions]
        return out

    def slots(self, idx: int, start: int, end: int) -> Int32Array:
        """The slots of positions ``start : end``; a view, valid until the row is written again."""
        return self._host[idx, start:end]

    def _upload(self, where: tuple[object, object], slots: Int32Array) -> None:
        self.table[where] = torch.from_numpy(slots).to(self.table.device)  # type: ignore[index]


class TokenToKVPool:
    """K and V of every layer, one row for each slot.

    Attributes:
        k, v: for each layer [num_slots, num_kv_heads, head_dim]. Slot 0 is zero at first; the
            other rows hold nothing until they are written.
    """

    def __init__(
        self,
        num_slots: int,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.num_slots = num_slots
        shape = (2, num_layers, num_slots, num_kv_heads, head_dim)
        self._take(torch.empty(shape, dtype=dtype, device=device))

    def release(self) -> None:
        """Give the memory back; nothing may be read or written until ``restore``."""
        self._buffer.untyped_storage().resize_(0)

    def restore(self) -> None:
        """Take the memory again, as new: what was in it is lost."""
        self._take(torch.empty_like(self._buffer))

    def _take(self, buffer: torch.Tensor) -> None:
        self._buffer = buffer
        buffer[:, :, 0].zero_()
        self.k = list(buffer[0].unbind(0))
        self.v = list(buffer[1].unbind(0))

    @property
    def num_layers(self) -> int:
        return len(self.k)

    @property
    def dtype(self) -> torch.dtype:
        return self._buffer.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes of one token over all layers."""
        return self._buffer[:, :, 0].nbytes

    def read(self, slots: Int32Array) -> torch.Tensor:
        """A copy in host memory of K and V in the slots: [2, num_layers, n, num_kv_heads, D]."""
        return self._buffer.index_select(2, self._index(slots)).cpu()

    def write(self, slots: Int32Array, rows: torch.Tensor) -> None:
        """Set K and V of the slots to what ``read`` gave."""
        rows = rows.to(self._buffer.device)
        # As bytes: torch copies no float8 by index.
        self._buffer.view(torch.uint8).index_copy_(2, self._index(slots), rows.view(torch.uint8))

    def rows_shape(self, count: int) -> tuple[int, ...]:
        """The shape of what ``read`` gives for ``count`` slots."""
        sides, num_layers, _, *row = self._buffer.shape
        return (sides, num_layers, count, *row)

    def _index(self, slots: Int32Array) -> torch.Tensor:
        return torch.from_numpy(slots.astype(np.int64)).to(self._buffer.device)
