"""A scheduler around a model that needs no weights, yet notices any wrong KV slot.

The model keeps each token's id in its KV slot and predicts a hash of all ids it reads back through
the slot table. One slot mixed up anywhere, and every later token of the request differs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from sglang_lang.constrained.compiler import GrammarCompiler
from sglang_lang.constrained.vocabulary import Vocabulary
from sglang_lang.kernels.dispatch import load_ops
from sglang_lang.radix_cache.allocator import TokenAllocator
from sglang_lang.radix_cache.block_store import BlockStore
from sglang_lang.radix_cache.host_tier import HostTier
from sglang_lang.radix_cache.memory_pool import ReqToTokenPool, TokenToKVPool
from sglang_lang.radix_cache.prefix_cache import NoCache, PrefixCache, RadixCache
from sglang_lang.runtime.messages import (
    BatchOutput,
    FinishReason,
    FromScheduler,
    GenerateRequest,
    RequestOutput,
    ToScheduler,
)
from sglang_lang.runtime.model_executor.forward_batch import ForwardBatch
from sglang_lang.runtime.model_executor.model_runner import LaunchedStep, ModelRunner
from sglang_lang.runtime.model_executor.step import StepInput, StepResult
from sglang_lang.runtime.sampling_params import SamplingParams
from sglang_lang.runtime.scheduler.grammar_queue import GrammarQueue
from sglang_lang.runtime.scheduler.jump_forward import JumpForward
from sglang_lang.runtime.scheduler.kv_cache import KVCache
from sglang_lang.runtime.scheduler.limits import Limits
from sglang_lang.runtime.scheduler.planner import Planner
from sglang_lang.runtime.scheduler.policy import schedule_policy
from sglang_lang.runtime.scheduler.req import Req
from sglang_lang.runtime.scheduler.results import ResultProcessor
from sglang_lang.runtime.scheduler.scheduler import Scheduler
from sglang_lang.runtime.scheduler.speculation import NgramSpeculation
from sglang_lang.runtime.scheduler.step_builder import StepBuilder

VOCAB = 257  # every byte, and the end of sequence
EOS = 256
CPU = torch.device("cpu")
MOST_WAIT_MS = 2


def states(token_ids: list[int]) -> Iterator[int]:
    """What the toy model has made of a sequence, after each of its tokens."""
    state = 7
    for token_id in token_ids:
        state = (state * 31 + token_id + 1) % 65521
        yield state


def continuation(prompt: list[int], length: int) -> list[int]:
    """The toy model's greedy output; never the end of sequence."""
    *_, state = states(prompt)
    output: list[int] = []
    for _ in range(length):
        output.append(state % 256)
        state = (state * 31 + output[-1] + 1) % 65521
    return output


class HashModel:
    """K of a slot is its token, V what the model has made of the sequence up to there.

    A V that does not follow from the tokens before it (computed from another request's slots, or
    not yet) spoils every prediction that reads it.
    """

    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        k, v = batch.kv_pool.k[0][:, 0, 0], batch.kv_pool.v[0][:, 0, 0]
        k[batch.out_cache_loc] = batch.input_ids.to(k.dtype)
        hidden = torch.zeros(len(batch.input_ids), 1)
        for b, pool_idx in enumerate(batch.req_pool_indices.tolist()):
            slots = batch.req_to_token[pool_idx, : int(batch.seq_lens[b])].long()
            # A request that has ended meanwhile may read slots that nobody has written.
            tokens = k[slots].nan_to_num().long().tolist()
            seen = torch.tensor(list(states(tokens)), dtype=torch.int64)
            first, last = batch.query_start[b : b + 2].tolist()
            prefix_len = int(batch.positions[first])
            if not torch.equal(v[slots[:prefix_len]], seen[:prefix_len].float()):
                seen += 1
            v[batch.out_cache_loc[first:last]] = seen[prefix_len:].float()
            hidden[first:last, 0] = (seen[prefix_len:] % 256).float()
        return hidden

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(hidden.shape[0], VOCAB)
        logits[torch.arange(hidden.shape[0]), hidden[:, 0].long()] = 20.0
        return logits


class LateStep(LaunchedStep):
    """A step that runs when its result is asked for."""

    def __init__(self, step: StepInput, run: Callable[[LaunchedStep], None]) -> None:
        super().__init__(step)
        self._run = run

    def result(self) -> StepResult:
        self._run(self)
        return super().result()


class LateRunner(ModelRunner):
    """A device so slow that each step runs only once the next one has been planned and launched."""

    def launch(self, step: StepInput) -> LaunchedStep:
        return LateStep(step, self._run)


class ByteTokenizer:
    """Token i is byte i."""

    token_bytes: list[bytes | None] = [bytes([i]) for i in range(256)] + [None]

    def encode_continuation(self, text: str) -> list[int]:
        return [byte for byte in text.encode() if self.token_bytes[byte] is not None]


class WordTokenizer(ByteTokenizer):
    """Tokens 128 and on are words of several bytes; the longest that fits is taken."""

    WORDS = (b"ab", b"abc", b'{"', b'": ', b'", "', b"cd", b"bcd", b"aa", b"da", b' "', b'e"')

    def __init__(self) -> None:
        self.token_bytes = [bytes([i]) for i in range(128)]
        self.token_bytes += [self.WORDS[i % len(self.WORDS)] for i in range(128)] + [None]
        self._longest = sorted(self.WORDS, key=len, reverse=True)

    def encode_continuation(self, text: str) -> list[int]:
        rest, ids = text.encode(), []
        while rest:
            word = next((w for w in self._longest if rest.startswith(w)), rest[:1])
            ids.append(self.token_bytes.index(word))
            rest = rest[len(word) :]
        return ids


class ListPort:
    """A scheduler port that is filled and read by the test."""

    def __init__(self) -> None:
        self.inbox: deque[ToScheduler] = deque()
        self.sent: list[FromScheduler] = []

    def recv(self, timeout_ms: int) -> list[ToScheduler]:
        if not self.inbox:  # time for the threads beside the loop, as a real port gives it
            time.sleep(min(timeout_ms, MOST_WAIT_MS) / 1000)
        messages = list(self.inbox)
        self.inbox.clear()
        return messages

    def wake(self) -> None:
        pass

    def send(self, messages: list[FromScheduler]) -> None:
        self.sent.extend(messages)

    def close(self) -> None:
        pass


@dataclass
class Outcome:
    """All that a client has been told of one request."""

    ids: list[int] = field(default_factory=list)
    finish: FinishReason | None = None
    last: RequestOutput | None = None
    terminal_messages: int = 0
    input_logprobs: list[Any] = field(default_factory=list)
    output_logprobs: list[Any] = field(default_factory=list)
    withdrawn: int = 0


@dataclass(frozen=True)
class Toy:
    """Settings of a toy scheduler; ``build`` makes it."""

    slots: int = 512
    page_size: int = 1
    chunk: int = 16
    max_running: int = 8
    context_len: int = 256
    cache: bool = True
    overlap: bool = True
    policy: str = "lpm"
    preemption_threshold: int = 10
    jump_forward: bool = True
    tokenizer: ByteTokenizer = ByteTokenizer()
    stream_interval: int = 1
    late: bool = False
    eviction: str = "lru"
    tier: BlockStore | None = None
    tier_model: bytes = b"toy"
    speculation: NgramSpeculation | None = None
    calm: int = 24

    def build(self) -> ToyScheduler:
        return ToyScheduler(self)


class ToyScheduler:
    def __init__(self, toy: Toy) -> None:
        self.port = ListPort()
        req_pool = ReqToTokenPool(2 * toy.max_running, toy.context_len, CPU)
        num_slots = toy.slots + toy.page_size
        kv_pool = TokenToKVPool(num_slots, 1, 1, 1, torch.float32, CPU)
        allocator = TokenAllocator(num_slots, toy.page_size)
        ops = load_ops(CPU, "reference")
        runner = (LateRunner if toy.late else ModelRunner)(HashModel(), ops, kv_pool, req_pool, CPU)
        tier = None
        if toy.tier is not None:
            tier = HostTier(kv_pool, toy.tier, toy.tier_model, toy.page_size, runner.run_in_order)
        cache: PrefixCache = NoCache(allocator.page_size)
        if toy.cache:
            cache = RadixCache(allocator, toy.eviction, tier.save if tier is not None else None)
        self.kv = KVCache(allocator, req_pool, cache, tier)
        self.capacity = allocator.available()
        tokenizer = toy.tokenizer
        vocabulary = Vocabulary.from_token_bytes(tokenizer.token_bytes, [EOS])
        jump_forward = JumpForward(tokenizer, vocabulary) if toy.jump_forward else None
        eos = frozenset({EOS})
        self.scheduler = Scheduler(
            port=self.port,
            runner=runner,
            kv=self.kv,
            planner=Planner(
                self.kv,
                schedule_policy(toy.policy, self.kv, toy.preemption_threshold, 0),
                toy.chunk,
                toy.max_running,
                1.0,
                toy.speculation,
            ),
            builder=StepBuilder(req_pool, VOCAB, eos),
            results=ResultProcessor(
                eos, jump_forward, toy.stream_interval, toy.speculation, toy.calm
            ),
            grammars=GrammarQueue(GrammarCompiler(vocabulary)),
            token_bytes=lambda token_id: tokenizer.token_bytes[token_id] or b"",
            limits=Limits(toy.context_len, allocator.available()),
            vocab_size=VOCAB,
            overlap=toy.overlap,
            random_seed=0,
        )
        self.outcomes: dict[str, Outcome] = {}
        self.finished: list[str] = []  # rids, in the order of their end

    def send(self, message: ToScheduler) -> None:
        if isinstance(message, GenerateRequest):
            self.outcomes[message.rid] = Outcome()
        self.port.inbox.append(message)

    def step(self) -> None:
        self.scheduler.step()
        self.deliver()

    def deliver(self) -> None:
        """Tell the requests' clients what the scheduler has sent."""
        for message in self.port.sent:
            if isinstance(message, BatchOutput):
                for output in message.outputs:
                    self._take(output)
        self.port.sent.clear()

    def _take(self, output: RequestOutput) -> None:
        outcome = self.outcomes[output.rid]
        if output.replaced:
            del outcome.ids[-output.replaced :]
            outcome.withdrawn += output.replaced
        outcome.ids += output.token_ids
        outcome.last = output
        if output.input_logprobs is not None:
            outcome.input_logprobs += output.input_logprobs.values
        if output.output_logprobs is not None:
            outcome.output_logprobs += output.output_logprobs.values
        if output.finish is not None:
            outcome.finish = output.finish
            outcome.terminal_messages += 1
            self.finished.append(output.rid)

    def run(self, most_steps: int = 20_000) -> None:
        """Step until every request has ended."""
        for _ in range(most_steps):
            self.step()
            if all(outcome.finish is not None for outcome in self.outcomes.values()):
                return
        unfinished = [rid for rid, outcome in self.outcomes.items() if outcome.finish is None]
        raise AssertionError(f"not finished after {most_steps} steps: {unfinished}")

    def check_slots(self) -> None:
        """free + the tree's + those of running requests = all."""
        free = self.kv.allocator.available()
        tree = self.kv.prefix_cache.total_size
        own = self.kv.owned_by_requests(self.scheduler.queues.running)
        assert free + tree + own == self.capacity, (free, tree, own, self.capacity)
        self.kv.prefix_cache.check_integrity()


def request(rid: str, prompt: list[int], max_new_tokens: int = 8, **kwargs: Any) -> GenerateRequest:
    """A greedy request; sampling parameters and message fields may be mixed in kwargs."""
    message_fields = {
        name: kwargs.pop(name) for name in list(kwargs) if name in GenerateRequest.__struct_fields__
    }
    params = SamplingParams(max_new_tokens=max_new_tokens, **{"temperature": 0.0, **kwargs})
    return GenerateRequest(rid=rid, input_ids=prompt, sampling_params=params, **message_fields)


def waiting(*prompts: list[int]) -> list[Req]:
    """Requests as they wait, called "0", "1", "2" ..."""
    return [Req(request(str(i), prompt), 0, 256) for i, prompt in enumerate(prompts)]
