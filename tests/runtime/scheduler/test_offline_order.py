"""A batch known beforehand reaches the best hit rate, in a cache far smaller than its tree."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from sglang_lang.runtime.messages import FromScheduler, SchedulerReady, ToScheduler
from sglang_lang.runtime.sampling_params import SamplingParams
from sglang_lang.runtime.text.generation import Generation
from sglang_lang.runtime.text.tokenizer_manager import GenerateInput, TokenizerManager
from tests.runtime.text.echo import byte_tokenizer

from .toy import Toy, ToyScheduler, continuation

OUTPUT = 3
Prompts = list[list[int]]


def some(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(256) for _ in range(count)]


def few_shot(rng: random.Random) -> Prompts:
    """8 subjects, each with its examples, of 8 questions."""
    instruction = some(rng, 10)
    stems = [instruction + some(rng, 60) for _ in range(8)]
    return [stem + some(rng, rng.randrange(5, 15)) for stem in stems for _ in range(8)]


def tree(rng: random.Random) -> Prompts:
    """The thoughts of a search tree: 4 questions, three levels of 3 proposals each."""
    level = [some(rng, 30) for _ in range(4)]
    prompts = list(level)
    for _ in range(3):
        level = [thought + some(rng, 12) for thought in level for _ in range(3)]
        prompts += level
    return prompts


def conversations(rng: random.Random) -> Prompts:
    """12 logged conversations, answered again at each of 5 turns."""
    prompts = []
    for _ in range(12):
        history = some(rng, 8)
        for _ in range(5):
            history = history + some(rng, rng.randrange(33, 60))
            prompts.append(history)
    return prompts


def most_hits(prompts: Prompts, page: int) -> int:
    """Hits of any order in a cache of any size: every page of the tree is computed once."""
    pages: set[tuple[int, ...]] = set()
    total = 0
    for prompt in prompts:
        ends = range(page, len(prompt) + 1, page)
        total += len(ends)
        pages |= {tuple(prompt[:end]) for end in ends}
    return (total - len(pages)) * page


class ToyClient:
    """A ``SchedulerClient`` that runs the scheduler whenever it is asked for messages."""

    def __init__(self, scheduler: ToyScheduler) -> None:
        self._scheduler = scheduler

    def send(self, messages: list[ToScheduler]) -> None:
        self._scheduler.port.inbox.extend(messages)

    async def recv(self) -> list[FromScheduler]:
        port = self._scheduler.port
        while not port.sent:
            await asyncio.sleep(0)
            self._scheduler.scheduler.step()
        messages = list(port.sent)
        port.sent.clear()
        return messages

    def close(self) -> None:
        pass


async def generate_all(toy: Toy, prompts: Prompts) -> list[Generation]:
    manager = TokenizerManager(byte_tokenizer(), None)
    client = ToyClient(toy.build())
    most = toy.context_len
    ready = SchedulerReady(
        pid=1,
        max_total_num_tokens=toy.slots,
        max_running_requests=toy.max_running,
        max_req_input_len=most - 1,
        context_len=most,
    )
    manager.attach(client, ready)
    reader = asyncio.ensure_future(manager.read_forever(client))
    params = SamplingParams(max_new_tokens=OUTPUT, temperature=0.0)
    requests = [GenerateInput(input_ids=prompt, sampling_params=params) for prompt in prompts]
    try:
        return await manager.generate_all(requests)
    finally:
        reader.cancel()


@pytest.mark.parametrize("page_size", [1, 16])
@pytest.mark.parametrize("policy", ["lpm", "dfs-weight", "fcfs"])
@pytest.mark.parametrize("workload", [few_shot, tree, conversations])
async def test_the_hit_rate_is_near_the_best_one_possible(
    workload: Callable[[random.Random], Prompts], policy: str, page_size: int
) -> None:
    rng = random.Random(0)
    prompts = workload(rng)
    rng.shuffle(prompts)
    # The tree of the prompts has ten times as many tokens.
    slots = 64 + max(map(len, prompts))
    toy = Toy(policy=policy, page_size=page_size, slots=slots, chunk=64, context_len=512)
    done = await generate_all(toy, prompts)
    assert [d.output_ids for d in done] == [continuation(prompt, OUTPUT) for prompt in prompts]
    hits = sum(d.cached_tokens for d in done)
    assert hits >= 0.95 * most_hits(prompts, page_size), (hits, most_hits(prompts, page_size))


async def test_the_order_of_arrival_alone_reaches_much_less() -> None:
    """What the test above would see of a scheduler that did not order: it can fail."""
    rng = random.Random(0)
    prompts = few_shot(rng)
    rng.shuffle(prompts)
    scheduler = Toy(policy="fcfs", slots=160, chunk=64).build()
    client = ToyClient(scheduler)
    manager = TokenizerManager(byte_tokenizer(), None)
    ready = SchedulerReady(
        pid=1,
        max_total_num_tokens=160,
        max_running_requests=8,
        max_req_input_len=255,
        context_len=256,
    )
    manager.attach(client, ready)
    reader = asyncio.ensure_future(manager.read_forever(client))
    params = SamplingParams(max_new_tokens=OUTPUT, temperature=0.0)
    done = await asyncio.gather(
        *(manager.generate(GenerateInput(input_ids=p, sampling_params=params)) for p in prompts)
    )
    reader.cancel()
    assert sum(d.cached_tokens for d in done) < 0.8 * most_hits(prompts, 1)
