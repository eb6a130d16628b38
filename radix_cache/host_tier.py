"""KV that was evicted, kept outside the pool and brought back instead of being computed again.

Sequences are cut into blocks of tokens. A block's id is a hash of everything its KV depends on: the
model, the namespace and all tokens up to its end; so it is found again by its tokens alone, after a
restart too, and two tenants or two models never meet. What is read must carry the id and a checksum
of its bytes, or it is a miss.

The pool is touched only in the order of the model's steps, by work handed to ``run_in_order``:
evicted slots are copied out before a later step overwrites them, and a step that reads what was
brought back runs after it. Hashing, writing and reading happen on threads of their own.
"""

from __future__ import annotations

import logging
import time
import weakref
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Protocol

import numpy as np
import torch

from .block_store import BlockStore
from .radix_tree import TOKEN_BYTES, Int32Array, Span

logger = logging.getLogger(__name__)

BLOCK_TOKENS = 64
MAX_UNWRITTEN_BYTES = 256 << 20  # copied out of the pool but not written yet; more is dropped
MAX_LOADED_BYTES = 1 << 30  # read for requests that are not admitted yet
FORMAT = b"kv block 1"
ID_BYTES = 32
CHECKSUM_BYTES = 4

RunInOrder = Callable[[Callable[[], None]], "Future[None]"]


class KVRows(Protocol):
    """What the tier asks of a KV pool."""

    @property
    def token_bytes(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def read(self, slots: Int32Array) -> torch.Tensor: ...

    def write(self, slots: Int32Array, rows: torch.Tensor) -> None: ...

    def rows_shape(self, count: int) -> tuple[int, ...]: ...


@dataclass(slots=True)
class TierStats:
    """Totals since the start."""

    saved_tokens: int = 0
    loaded_tokens: int = 0  # brought back into the pool
    dropped_tokens: int = 0  # not saved because writing could not keep up
    failed_tokens: int = 0  # not saved because they could not be written
    bad_blocks: int = 0  # torn or altered


class KVLoad:
    """What the tier holds of one sequence, on its way into memory.

    Once ``done``, ``blocks`` are the KV of the tokens ``start : end``.
    """

    def __init__(
        self, start: int, num_wanted: int, block_tokens: int, future: Future[list[torch.Tensor]]
    ) -> None:
        self.start = start
        self.num_wanted = num_wanted
        self._block_tokens = block_tokens
        self._future = future

    @property
    def done(self) -> bool:
        return self._future.done()

    @property
    def blocks(self) -> list[torch.Tensor]:
        return self._future.result()

    @property
    def end(self) -> int:
        return self.start + len(self.blocks) * self._block_tokens


class HostTier:
    """Saves what is evicted, and loads it again.

    ``save``, ``load``, ``restore``, ``clear`` and ``close`` belong to one thread, the scheduler's.

    Args:
        pool: the KV pool.
        store: where the blocks go.
        model: names the weights and all else that decides what the KV of a token is.
        page_size: tokens to a page of the pool; a block is whole pages.
        run_in_order: queues work behind the steps launched so far.
    """

    def __init__(
        self,
        pool: KVRows,
        store: BlockStore,
        model: bytes,
        page_size: int,
        run_in_order: RunInOrder,
    ) -> None:
        self.block_tokens = -(-BLOCK_TOKENS // page_size) * page_size
        self.store = store
        self.stats = TierStats()
        self._pool = pool
        self._model = FORMAT + model + self.block_tokens.to_bytes(4, "little")
        self._run_in_order = run_in_order
        self._block_bytes = self.block_tokens * pool.token_bytes
        self._unwritten: dict[bytes, torch.Tensor] = {}
        self._loads: weakref.WeakSet[KVLoad] = weakref.WeakSet()
        self._last_write: Future[None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="kv-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="kv-reader")

    # ------------------------------------------------------------------ out of the pool

    def save(self, spans: list[Span]) -> None:
        """Keep the KV of the spans, whose slots are about to be freed; does not wait."""
        step = self.block_tokens
        spans = [span for span in spans if span.end // step > span.start // step]
        if spans:
            self._run_in_order(partial(self._copy_out, spans, MAX_UNWRITTEN_BYTES))

    def save_all(self, spans: Iterable[Span], seconds: float) -> None:
        """Keep the KV of the spans; waits until it is written, or the time is over."""
        deadline = time.monotonic() + seconds
        for span in spans:
            self._run_in_order(partial(self._copy_out, [span], None))
            self.drain()
            if time.monotonic() > deadline:
                logger.warning("not all cached KV could be saved in %.0f s", seconds)
                return

    def drain(self) -> None:
        """Wait until everything that was to be saved is."""
        self._run_in_order(lambda: None).result()
        self._writer.submit(lambda: None).result()

    def _copy_out(self, spans: list[Span], most_bytes: int | None) -> None:
        step = self.block_tokens
        for span in spans:
            ids = self._ids(span.key, span.extra_key, span.end // step)
            slots = np.frombuffer(span.slots, dtype=np.int32)
            for i in range(span.start // step, len(ids)):
                if self._holds(ids[i]):
                    continue
                unwritten = len(self._unwritten) * self._block_bytes
                if most_bytes is not None and unwritten + self._block_bytes > most_bytes:
                    self.stats.dropped_tokens += step
                    continue
                self._unwritten[ids[i]] = self._pool.read(slots[i * step : (i + 1) * step])
                if self._last_write is not None and self._last_write.done():
                    self._last_write.result()  # what it did not expect is raised here
                self._last_write = self._writer.submit(self._write, ids[i])

    def _write(self, block_id: bytes) -> None:
        data = self._unwritten[block_id].reshape(-1).view(torch.uint8).numpy().data
        try:
            self.store.put(block_id, (block_id, _checksum(data), data))
            self.stats.saved_tokens += self.block_tokens
        except OSError as error:
            self.stats.failed_tokens += self.block_tokens
            logger.warning("evicted KV could not be written: %s", error)
        finally:
            del self._unwritten[block_id]

    # ------------------------------------------------------------------ back into the pool

    def load(self, token_ids: Int32Array, extra_key: str | None, cached_len: int) -> KVLoad | None:
        """Start reading what is held of a sequence beyond its first ``cached_len`` tokens.

        None while others' loads fill the room for them: ask again later.
        """
        step = self.block_tokens
        first, count = cached_len // step, len(token_ids) // step
        found: list[bytes] = []
        if first < count and (len(self.store) or self._unwritten):
            if self._loaded_bytes() > MAX_LOADED_BYTES:
                return None
            for block_id in self._ids(token_ids.tobytes(), extra_key, count)[first:]:
                if not self._holds(block_id):
                    break
                found.append(block_id)
        future: Future[list[torch.Tensor]] = Future()
        if found:
            future = self._reader.submit(self._read, found)
        else:
            future.set_result([])
        load = KVLoad(first * step, len(found), step, future)
        if found:
            self._loads.add(load)
        return load

    @property
    def is_loading(self) -> bool:
        return any(not load.done for load in self._loads)

    def restore(self, load: KVLoad, start: int, slots: Int32Array) -> None:
        """Put the KV of the tokens ``start : load.end`` into ``slots``, before the next step."""
        assert load.start <= start and start + len(slots) == load.end
        self.stats.loaded_tokens += len(slots)
        self._run_in_order(partial(self._copy_in, load, start, slots))

    def _copy_in(self, load: KVLoad, start: int, slots: Int32Array) -> None:
        step = self.block_tokens
        for i, block in enumerate(load.blocks):
            begin = load.start + i * step
            skipped = max(start - begin, 0)
            if skipped < step:
                into = slots[begin + skipped - start : begin + step - start]
                self._pool.write(into, block[:, :, skipped:])

    def _read(self, block_ids: list[bytes]) -> list[torch.Tensor]:
        """The longest run of whole blocks from the first one on; those after it are dropped.

        They are of no use without the one that is missing, and are saved again with it.
        """
        blocks: list[torch.Tensor] = []
        for block_id in block_ids:
            block = self._unwritten.get(block_id)
            if block is None:
                block = self._read_block(block_id)
            if block is None:
                break
            blocks.append(block)
        for block_id in block_ids[len(blocks) :]:
            self.store.discard(block_id)
        # Last block first, so that the end of a sequence is dropped before its beginning.
        self.store.touch(reversed(block_ids[: len(blocks)]))
        return blocks

    def _read_block(self, block_id: bytes) -> torch.Tensor | None:
        try:
            data = self.store.get(block_id)
        except OSError as error:
            logger.warning("evicted KV could not be read: %s", error)
            data = bytearray()
        if data is None:
            return None
        view = memoryview(data)
        payload = view[ID_BYTES + CHECKSUM_BYTES :]
        if (
            len(payload) != self._block_bytes
            or view[:ID_BYTES] != block_id
            or view[ID_BYTES : ID_BYTES + CHECKSUM_BYTES] != _checksum(payload)
        ):
            self.stats.bad_blocks += 1
            logger.warning("block %s of evicted KV is damaged: dropped", block_id.hex()[:16])
            return None
        rows = torch.frombuffer(data, dtype=torch.uint8, offset=ID_BYTES + CHECKSUM_BYTES)
        return rows.view(self._pool.dtype).view(self._pool.rows_shape(self.block_tokens))

    # ------------------------------------------------------------------ the rest

    def clear(self) -> None:
        """Forget everything that was saved of this model."""
        self.drain()
        self.store.clear()

    def close(self) -> None:
        self._writer.shutdown(wait=True)
        self._reader.shutdown(wait=True)
        self.store.close()

    def _holds(self, block_id: bytes) -> bool:
        return block_id in self._unwritten or block_id in self.store

    def _loaded_bytes(self) -> int:
        return sum(load.num_wanted for load in self._loads) * self._block_bytes

    def _ids(self, key: bytes, extra_key: str | None, count: int) -> list[bytes]:
        """The ids of the first blocks, each a hash of the one before and its own tokens."""
        namespace = b"" if extra_key is None else b":" + extra_key.encode("utf-8", "surrogatepass")
        link = blake2b(self._model + namespace, digest_size=ID_BYTES).digest()
        size = self.block_tokens * TOKEN_BYTES
        ids: list[bytes] = []
        for start in range(0, count * size, size):
            link = blake2b(link + key[start : start + size], digest_size=ID_BYTES).digest()
            ids.append(link)
        return ids


def _checksum(data: memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(CHECKSUM_BYTES, "little")
