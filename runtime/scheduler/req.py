"""One request as the scheduler sees it: its tokens, how many of them have KV, and what it holds."""

from __future__ import annotations

import time
from array import array

import numpy as np
import numpy.typing as npt

from sglang_lang.constrained.matcher import GrammarMatcher
from sglang_lang.radix_cache.host_tier import KVLoad
from sglang_lang.radix_cache.radix_tree import TreeNode

from ..messages import FinishReason, GenerateRequest, Logprobs, RequestTimes
from ..sampling_params import SamplingParams
from .stop_checker import StopChecker

MAX_RETOKENIZED = 8  # most output tokens that jump-forward tokenises again with forced text


class Req:
    """A sequence that still has tokens to compute.

    Every step computes the KV of tokens ``kv_len .. total_len`` (as many as the budget allows);
    once none is left without KV, the step also samples the next one. Decode is the case of one
    missing token, a new prompt or forced text that of many, so there is no third state::

        0            cached_len            kv_len       alloc_len
        |-- tree's slots --|-- own, computed --|-- own, empty --|
        |---------------- known tokens ----------------|pending|
                                                               total_len

    ``kv_len`` counts what has been launched: steps run in order, so a later step may rely on it.
    ``pending`` counts sampled tokens that are still on the device: at most one between steps, two
    while a step is launched before the one ahead of it is taken in.
    """

    __slots__ = (
        "request",
        "params",
        "tokens",
        "prompt_len",
        "pending",
        "kv_len",
        "cached_len",
        "alloc_len",
        "pool_idx",
        "node",
        "tier_load",
        "matcher",
        "warnings",
        "stop_checker",
        "seed",
        "finish",
        "sent_len",
        "withdrawn",
        "cached_tokens",
        "host_tokens",
        "forced_tokens",
        "forced_places",
        "num_retractions",
        "scored_len",
        "score_end",
        "ends_when_computed",
        "input_logprobs",
        "output_logprobs",
        "arrival",
        "queued",
        "started",
        "passed_over",
        "penalised",
        "calm_from",
        "jumps",
        "draft_len",
        "draft_again_at",
        "num_drafts",
        "drafted_tokens",
        "accepted_tokens",
        "healed_at",
        "max_output",
        "most_tokens",
        "hidden_sum",
    )

    def __init__(self, request: GenerateRequest, seed: int, context_len: int) -> None:
        self.request = request
        self.params: SamplingParams = request.sampling_params
        self.tokens = array("i", request.input_ids)
        self.prompt_len = len(self.tokens)
        self.pending = 0
        self.kv_len = 0
        self.cached_len = 0
        self.alloc_len = 0
        self.pool_idx: int | None = None
        self.node: TreeNode | None = None
        self.tier_load: KVLoad | None = None  # asked for while it waits, used when it is admitted
        self.matcher: GrammarMatcher | None = None
        self.warnings: list[str] = []  # what of its constraint is not enforced
        self.stop_checker: StopChecker | None = None
        self.seed = seed
        self.finish: FinishReason | None = None
        self.sent_len = 0  # output tokens already sent
        self.withdrawn = 0  # of those, how many retokenisation has since replaced
        self.cached_tokens = 0
        self.host_tokens = 0  # of those, how many the host tier gave back
        self.forced_tokens = 0
        self.forced_places: set[int] = set()  # of output tokens that were not sampled
        self.num_retractions = 0
        self.input_logprobs: Logprobs | None = Logprobs() if request.return_logprob else None
        self.output_logprobs: Logprobs | None = Logprobs() if request.return_logprob else None
        # Known tokens at scored_len .. score_end want a logprob that the steps on them yield.
        self.scored_len = self._first_scored()
        self.score_end = self.prompt_len
        # How it ends once all known tokens are computed, instead of sampling another one.
        self.ends_when_computed = FinishReason("length") if self.prefill_only else None
        self.arrival = time.monotonic()
        self.queued = self.arrival  # later for one whose grammar is compiled first
        self.started: float | None = None  # when it was first in a batch
        self.passed_over = 0
        self.penalised = request.sampling_params.has_penalties
        self.calm_from = 0  # output tokens from which on no jump is expected
        self.jumps = 0  # how often forced text has come; a part planned before is void
        self.draft_len: int | None = None  # of the next draft: see NgramSpeculation
        self.draft_again_at = 0  # output tokens before which none is made
        self.num_drafts = 0  # that were verified
        self.drafted_tokens = 0
        self.accepted_tokens = 0
        self.healed_at: tuple[int, bytes] | None = None  # see JumpForward
        self.max_output = min(self.params.max_new_tokens, context_len - self.prompt_len)
        self.most_tokens = self.prompt_len + self.max_output
        self.hidden_sum: npt.NDArray[np.float32] | None = None  # [H] of what is pooled so far

    # ------------------------------------------------------------------ lengths

    @property
    def rid(self) -> str:
        return self.request.rid

    @property
    def total_len(self) -> int:
        return len(self.tokens) + self.pending

    @property
    def extend_len(self) -> int:
        """Tokens that have no KV yet."""
        return len(self.tokens) + self.pending - self.kv_len

    @property
    def known_output_len(self) -> int:
        return len(self.tokens) - self.prompt_len

    @property
    def output_len(self) -> int:
        """Output tokens, pending ones included."""
        return len(self.tokens) + self.pending - self.prompt_len

    @property
    def remaining_len(self) -> int:
        """Output tokens it may still sample."""
        return self.max_output - self.output_len

    @property
    def prefill_only(self) -> bool:
        return self.params.max_new_tokens == 0

    @property
    def is_running(self) -> bool:
        return self.pool_idx is not None

    @property
    def times(self) -> RequestTimes:
        started = self.started or self.queued  # a grammar may force the whole output
        return RequestTimes(self.queued - self.arrival, started - self.queued)

    @property
    def needs_tokens(self) -> bool:
        """Whether its next step is planned only once the token before is known."""
        return self.penalised or self.output_len < self.calm_from

    # ------------------------------------------------------------------ tokens

    @property
    def output_ids(self) -> list[int]:
        return self.tokens[self.prompt_len :].tolist()

    def token_array(self, end: int) -> npt.NDArray[np.int32]:
        """The first ``end`` known tokens as an array of its own."""
        return np.frombuffer(self.tokens, dtype=np.int32, count=end).copy()

    @property
    def settled_len(self) -> int:
        """Leading tokens that stay what they are, so that their KV may be shared already."""
        if self.matcher is None:
            return len(self.tokens)
        return max(self.prompt_len, len(self.tokens) - MAX_RETOKENIZED)

    def cut_output(self, keep: int) -> None:
        """Keep ``keep`` output tokens; the KV and the logprobs of the others are void."""
        kept_total = self.prompt_len + keep
        del self.tokens[kept_total:]
        self.forced_places = {place for place in self.forced_places if place < keep}
        self.kv_len = min(self.kv_len, kept_total)
        if self.output_logprobs is not None:
            self.output_logprobs.cut(max(0, keep - self.sent_len))
        if keep < self.sent_len:
            self.withdrawn += self.sent_len - keep
            self.sent_len = keep

    def compute_from(self, first: int) -> None:
        """The known tokens from position ``first`` on were not sampled: see to their rows.

        The row of the last one predicts the next token. If logprobs are wanted, those of the
        tokens come with the steps on them, of which the row before ``first`` is one; a slot that
        the tree has of it gets what it holds already.
        """
        self.kv_len = min(self.kv_len, len(self.tokens) - 1)
        if self.output_logprobs is not None:
            self.kv_len = min(self.kv_len, first - 1)
            if self.scored_len >= self.score_end:  # else the prompt's still come
                self.scored_len = first
            self.score_end = len(self.tokens)

    # ------------------------------------------------------------------ pooling

    def add_hidden(self, start: int, hidden: npt.NDArray[np.float32]) -> None:
        """Take the summed hidden states [H] of a part that begins at token ``start``.

        The first part of a prompt begins again: the request may have been retracted since.
        """
        if start == 0 or self.hidden_sum is None:
            self.hidden_sum = hidden
        else:
            self.hidden_sum = self.hidden_sum + hidden

    def pooled(self) -> bytes:
        """The pooled vector of a finished request, float32; empty if it asked for none."""
        if self.hidden_sum is None:
            return b""
        count = self.prompt_len if self.request.pooling == "mean" else 1
        return (self.hidden_sum / np.float32(count)).tobytes()

    # ------------------------------------------------------------------ logprobs

    def _first_scored(self) -> int:
        start = self.request.logprob_start_len
        if not self.request.return_logprob or start is None:
            return self.prompt_len
        if start == 0:  # nothing predicts the first token
            assert self.input_logprobs is not None
            self.input_logprobs.token_ids.append(self.tokens[0])
            self.input_logprobs.values.append(None)
            self.input_logprobs.top.append([])
            self.input_logprobs.chosen.append([])
            self.input_logprobs.forced.append(False)
        return max(start, 1)

    @property
    def reportable_len(self) -> int:
        """Tokens that the client may be told of: with logprobs, those that have and keep theirs."""
        if self.output_logprobs is None:
            return len(self.tokens)
        scored = self.prompt_len + self.sent_len + len(self.output_logprobs.values)
        return scored if self.finish else min(scored, self.settled_len)

    @property
    def longest_usable_prefix(self) -> int:
        """How many leading tokens may come from the cache.

        The last token is always recomputed (its hidden state predicts the next one), and so is
        the token before the first one to be scored. What may be retokenised is not shared, and a
        mean needs the hidden states of all.
        """
        if self.request.pooling == "mean":
            return 0
        limit = min(len(self.tokens) - 1, self.settled_len)
        if self.scored_len < self.score_end:
            limit = min(limit, self.scored_len - 1)
        return limit
