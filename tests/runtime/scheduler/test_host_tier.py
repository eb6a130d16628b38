"""Evicted KV that comes back, under a model that notices any wrong KV slot (see toy.py)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sglang_lang.radix_cache.block_store import FileStore, MemoryStore
from sglang_lang.runtime.messages import AbortRequest, ControlRequest
from sglang_lang.runtime.scheduler.req import Req

from .toy import Toy, ToyScheduler, continuation, request

BUDGET = 1 << 22


def run_one(scheduler: ToyScheduler, rid: str, prompt: list[int], **options: object) -> int:
    """Run a request to its end, check its tokens and all slots; returns its cached tokens."""
    scheduler.send(request(rid, prompt, max_new_tokens=3, **options))
    while scheduler.outcomes[rid].finish is None:
        scheduler.step()
        scheduler.check_slots()
    assert scheduler.outcomes[rid].ids == continuation(prompt, 3)
    last = scheduler.outcomes[rid].last
    assert last is not None
    assert last.host_tokens <= last.cached_tokens
    return last.cached_tokens


def drained(scheduler: ToyScheduler) -> ToyScheduler:
    assert scheduler.kv.tier is not None
    scheduler.kv.tier.drain()
    return scheduler


def evict_all(scheduler: ToyScheduler) -> None:
    scheduler.kv.prefix_cache.evict(scheduler.capacity)
    assert scheduler.kv.prefix_cache.total_size == 0
    drained(scheduler)


def some_tokens(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(256) for _ in range(count)]


@pytest.mark.parametrize("page_size", [1, 16, 64])
def test_what_was_evicted_comes_back(page_size: int) -> None:
    scheduler = Toy(page_size=page_size, tier=MemoryStore(BUDGET)).build()
    prompt = some_tokens(1, 200)
    assert run_one(scheduler, "cold", prompt) == 0
    evict_all(scheduler)
    assert run_one(scheduler, "back", prompt) == 192  # whole blocks of 64 tokens
    assert scheduler.kv.tier is not None
    assert scheduler.kv.tier.stats.loaded_tokens == 192
    last = scheduler.outcomes["back"].last
    assert last is not None and last.host_tokens == 192


def test_what_is_left_in_the_tree_is_extended() -> None:
    scheduler = Toy(tier=MemoryStore(BUDGET)).build()
    prompt = some_tokens(2, 200)
    run_one(scheduler, "cold", prompt)
    scheduler.kv.prefix_cache.evict(202 - 100)
    drained(scheduler)
    assert scheduler.kv.prefix_cache.total_size == 100
    assert run_one(scheduler, "back", prompt) == 192
    assert scheduler.kv.tier is not None
    assert scheduler.kv.tier.stats.loaded_tokens == 92


def test_what_the_tree_loses_while_a_request_waits_is_loaded_as_well() -> None:
    scheduler = Toy(tier=MemoryStore(BUDGET)).build()
    prompt = some_tokens(2, 200)
    run_one(scheduler, "cold", prompt)
    scheduler.kv.prefix_cache.evict(202 - 130)
    drained(scheduler)
    waiting = Req(request("waiting", prompt), seed=0, context_len=256)
    scheduler.kv.is_ready(waiting)
    assert waiting.tier_load is not None and waiting.tier_load.start == 128
    evict_all(scheduler)
    while not scheduler.kv.is_ready(waiting):
        pass
    assert scheduler.kv.admit(waiting)
    assert waiting.cached_len == 192
    scheduler.kv.release(waiting)
    scheduler.check_slots()


def test_tenants_do_not_meet_in_the_tier() -> None:
    scheduler = Toy(tier=MemoryStore(BUDGET)).build()
    prompt = some_tokens(3, 130)
    run_one(scheduler, "a", prompt, extra_key="a")
    evict_all(scheduler)
    assert run_one(scheduler, "b", prompt, extra_key="b") == 0
    assert run_one(scheduler, "none", prompt) == 0
    assert run_one(scheduler, "empty", prompt, extra_key="") == 0
    assert run_one(scheduler, "again", prompt, extra_key="a") == 128


def test_flushing_forgets_the_tier_as_well() -> None:
    scheduler = Toy(tier=MemoryStore(BUDGET)).build()
    prompt = some_tokens(4, 130)
    run_one(scheduler, "a", prompt)
    evict_all(scheduler)
    scheduler.send(ControlRequest(id=1, action="flush_cache"))
    scheduler.step()
    assert run_one(scheduler, "b", prompt) == 0


def file_toy(folder: Path, model: bytes = b"toy") -> ToyScheduler:
    return Toy(tier=FileStore(folder, model.hex(), BUDGET), tier_model=model).build()


def close(scheduler: ToyScheduler) -> None:
    scheduler.kv.close(save=True)


def restart(scheduler: ToyScheduler, folder: Path, model: bytes = b"toy") -> ToyScheduler:
    close(scheduler)
    return file_toy(folder, model)


def test_a_restart_finds_what_was_cached(tmp_path: Path) -> None:
    scheduler = file_toy(tmp_path)
    prompt = some_tokens(5, 200)
    run_one(scheduler, "cold", prompt)
    scheduler = restart(scheduler, tmp_path)
    assert run_one(scheduler, "warm", prompt) == 192
    close(scheduler)


def test_another_model_finds_nothing(tmp_path: Path) -> None:
    scheduler = file_toy(tmp_path)
    prompt = some_tokens(6, 200)
    run_one(scheduler, "cold", prompt)
    scheduler = restart(scheduler, tmp_path, b"other")
    assert run_one(scheduler, "other", prompt) == 0
    scheduler = restart(scheduler, tmp_path)
    assert run_one(scheduler, "warm", prompt) == 192
    close(scheduler)


def cut(data: bytearray) -> bytearray:
    return data[: len(data) // 2]


def flip(data: bytearray) -> bytearray:
    data[-7] ^= 4
    return data


def empty(_: bytearray) -> bytearray:
    return bytearray()


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_file_is_a_miss(tmp_path: Path, damage: Callable[[bytearray], bytearray]) -> None:
    scheduler = file_toy(tmp_path)
    prompt = some_tokens(7, 200)
    run_one(scheduler, "cold", prompt)
    close(scheduler)
    blocks = [file for file in tmp_path.rglob("*") if len(file.name) == 64]
    assert len(blocks) == 3
    for file in blocks:
        file.write_bytes(damage(bytearray(file.read_bytes())))
    scheduler = file_toy(tmp_path)
    assert run_one(scheduler, "warm", prompt) == 0
    assert scheduler.kv.tier is not None
    assert scheduler.kv.tier.stats.bad_blocks == 1  # the rest is no use without the first
    scheduler = restart(scheduler, tmp_path)
    assert run_one(scheduler, "mended", prompt) == 192
    close(scheduler)


def test_a_block_under_the_name_of_another_is_a_miss(tmp_path: Path) -> None:
    scheduler = file_toy(tmp_path)
    prompts = [some_tokens(8, 70), some_tokens(9, 70)]
    for i, prompt in enumerate(prompts):
        run_one(scheduler, f"cold {i}", prompt)
    close(scheduler)
    first, second = (file for file in tmp_path.rglob("*") if len(file.name) == 64)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    scheduler = file_toy(tmp_path)
    assert [run_one(scheduler, f"warm {i}", prompt) for i, prompt in enumerate(prompts)] == [0, 0]
    close(scheduler)


def storm(seed: int, toy: Toy) -> ToyScheduler:
    """Multi-turn conversations that push one another out of a small pool, with aborts."""
    rng = random.Random(seed)
    scheduler = toy.build()
    conversations = [some_tokens(seed + i, rng.randrange(40, 150)) for i in range(4)]
    work: dict[str, list[int]] = {}
    for turn in range(24):
        i = rng.randrange(len(conversations))
        conversation = conversations[i]
        if len(conversation) < 180:
            conversation += some_tokens(seed + 100 + turn, rng.randrange(1, 30))
        rid = f"{turn}."
        work[rid] = list(conversation)
        key = "tenant" if i == 0 else None
        scheduler.send(request(rid, work[rid], rng.randrange(1, 12), extra_key=key))
        if rng.random() < 0.1:
            scheduler.send(AbortRequest(rid_prefix=rid))
        for _ in range(rng.randrange(12)):
            scheduler.step()
            scheduler.check_slots()
    scheduler.run()
    scheduler.check_slots()
    for rid, prompt in work.items():
        outcome = scheduler.outcomes[rid]
        assert outcome.ids == continuation(prompt, len(outcome.ids))
        assert outcome.terminal_messages == 1
    return drained(scheduler)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**16),
    page_size=st.sampled_from([1, 16, 64]),
    slots=st.sampled_from([256, 320, 512]),
    chunk=st.sampled_from([16, 64, 512]),
    overlap=st.booleans(),
    budget=st.sampled_from([0, 3000, BUDGET]),
)
def test_same_tokens_and_conserved_slots_in_a_storm(
    seed: int, page_size: int, slots: int, chunk: int, overlap: bool, budget: int
) -> None:
    store = MemoryStore(budget)
    toy = Toy(page_size=page_size, slots=slots, chunk=chunk, overlap=overlap, tier=store)
    scheduler = storm(seed, toy)
    assert store.total_bytes <= budget
    scheduler.kv.close(save=False)


def test_a_storm_brings_kv_back() -> None:
    tier = storm(1, Toy(slots=256, tier=MemoryStore(BUDGET))).kv.tier
    assert tier is not None and tier.stats.loaded_tokens > 0


def test_work_on_the_pool_that_fails_ends_the_scheduler() -> None:
    """Its KV may be wrong then: no token may come of it."""
    scheduler = Toy().build()

    def fail() -> None:
        raise RuntimeError("the device is gone")

    scheduler.scheduler.runner.run_in_order(fail)  # type: ignore[attr-defined]
    scheduler.send(request("a", [1, 2, 3]))
    with pytest.raises(RuntimeError, match="the device is gone"):
        scheduler.run()
    assert scheduler.outcomes["a"].ids == []
