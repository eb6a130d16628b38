"""The tier on a KV pool of its own: what it keeps, what it drops, and how it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from sglang_lang.radix_cache import host_tier
from sglang_lang.radix_cache.block_store import Chunk, MemoryStore
from sglang_lang.radix_cache.host_tier import HostTier, KVLoad
from sglang_lang.radix_cache.memory_pool import TokenToKVPool
from sglang_lang.radix_cache.radix_tree import Span

SLOTS = 512
TOKENS = np.arange(1000, 1200, dtype=np.int32)


def at_once(work: Callable[[], None]) -> Future[None]:
    future: Future[None] = Future()
    work()
    future.set_result(None)
    return future


def filled_pool(dtype: torch.dtype = torch.bfloat16) -> TokenToKVPool:
    pool = TokenToKVPool(SLOTS, 3, 2, 8, dtype, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for rows in (*pool.k, *pool.v):
        rows.copy_(torch.randn(rows.shape, generator=generator))
    return pool


def span(start: int, end: int, extra_key: str | None = None) -> Span:
    """Tokens ``start : end`` of TOKENS, token i in slot 2 i + 1."""
    slots = np.arange(1, 2 * end + 1, 2, dtype=np.int32)
    return Span(extra_key, TOKENS[:end].tobytes(), slots.tobytes(), start)


def loaded(tier: HostTier, cached_len: int = 0, extra_key: str | None = None) -> KVLoad:
    load = tier.load(TOKENS, extra_key, cached_len)
    assert load is not None
    return load


class SlowStore(MemoryStore):
    """Writes once it is let."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.go = threading.Event()

    def put(self, block_id: bytes, chunks: Iterable[Chunk]) -> None:
        assert self.go.wait(60)
        super().put(block_id, chunks)


class FullStore(MemoryStore):
    def put(self, block_id: bytes, chunks: Iterable[Chunk]) -> None:
        raise OSError("no space left on device")


class BrokenStore(MemoryStore):
    def put(self, block_id: bytes, chunks: Iterable[Chunk]) -> None:
        raise ZeroDivisionError("a defect")


Make = Callable[[MemoryStore], HostTier]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[HostTier] = []

    def tier(store: MemoryStore) -> HostTier:
        made.append(HostTier(filled_pool(), store, b"model", 1, at_once))
        return made[-1]

    yield tier
    for one in made:
        one.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_comes_back_is_bit_for_bit_what_went(dtype: torch.dtype) -> None:
    pool = filled_pool(dtype)
    tier = HostTier(pool, MemoryStore(1 << 20), b"model", 1, at_once)
    tier.save([span(0, 200)])
    tier.drain()
    before = pool.read(np.arange(1, 400, 2, dtype=np.int32))
    into = np.arange(384 + 100, 384 + 100 - 92, -1, dtype=np.int32)  # backwards
    load = loaded(tier, cached_len=100)
    assert (load.start, load.end) == (64, 192)
    tier.restore(load, 100, into)
    assert torch.equal(pool.read(into), before[:, :, 100:192])
    assert (tier.stats.saved_tokens, tier.stats.loaded_tokens) == (192, 92)
    tier.close()


def test_a_block_is_kept_when_its_last_token_goes(make: Make) -> None:
    tier = make(MemoryStore(1 << 20))
    tier.save([span(130, 150)])
    tier.drain()
    assert tier.stats.saved_tokens == 0
    tier.save([span(120, 130)])  # the block 64 : 128 begins in what stays
    tier.drain()
    assert tier.stats.saved_tokens == 64
    assert loaded(tier).end == 0  # nothing without the block before
    tier.save([span(0, 120), span(100, 130)])
    tier.drain()
    assert tier.stats.saved_tokens == 128
    assert loaded(tier).end == 128


def test_namespaces_and_models_do_not_meet(make: Make) -> None:
    store = MemoryStore(1 << 20)
    tier = make(store)
    tier.save([span(0, 200, "a")])
    tier.drain()
    assert [loaded(tier, extra_key=key).end for key in ("a", "b", "", None)] == [192, 0, 0, 0]
    other = HostTier(filled_pool(), store, b"other", 1, at_once)
    assert loaded(other, extra_key="a").end == 0


def test_what_is_not_written_yet_can_be_had(make: Make) -> None:
    store = SlowStore()
    tier = make(store)
    tier.save([span(0, 200)])
    assert loaded(tier).end == 192
    assert len(store) == 0
    store.go.set()


def test_a_writer_that_cannot_keep_up_drops(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SlowStore()
    tier = make(store)
    block_bytes = 64 * filled_pool().token_bytes
    monkeypatch.setattr(host_tier, "MAX_UNWRITTEN_BYTES", 2 * block_bytes)
    tier.save([span(0, 200)])
    assert tier.stats.dropped_tokens == 64
    store.go.set()
    tier.drain()
    assert loaded(tier).end == 128


def test_loads_wait_for_room(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tier = make(MemoryStore(1 << 20))
    tier.save([span(0, 200)])
    monkeypatch.setattr(host_tier, "MAX_LOADED_BYTES", 1)
    first = loaded(tier)
    assert tier.load(TOKENS, None, 0) is None
    assert first.end == 192
    del first
    assert loaded(tier).end == 192


def test_a_full_disk_is_counted_and_no_error(make: Make) -> None:
    tier = make(FullStore(1 << 20))
    tier.save([span(0, 200)])
    tier.drain()
    assert (tier.stats.saved_tokens, tier.stats.failed_tokens) == (0, 192)
    assert loaded(tier).end == 0


def test_a_defect_of_the_writer_is_not_swallowed(make: Make) -> None:
    tier = make(BrokenStore(1 << 20))
    tier.save([span(0, 64)])
    tier.drain()
    with pytest.raises(ZeroDivisionError):
        tier.save([span(64, 200)])
