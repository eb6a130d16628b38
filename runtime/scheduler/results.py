"""What a step's tokens mean for their requests: append, finish, jump forward, report."""

from __future__ import annotations

from sglang_lang.constrained.matcher import GrammarMatcher

from ..messages import FinishReason, Logprobs, RequestOutput
from ..model_executor.step import StepResult, TokenLogprob
from .batch import Part
from .jump_forward import Jump, JumpForward
from .req import Req
from .speculation import NgramSpeculation

# Steps are planned ahead again after so many tokens that forced nothing. Waiting for each token
# costs a few percent of a step; a jump that comes unexpected costs one step.
CALM_TOKENS = 24

_UNSPEAKABLE = FinishReason(
    "abort",
    message="the constraint allows no token of the model's vocabulary next, or is too large",
    status_code=400,
)


class ResultProcessor:
    """Turns sampled tokens into request state and outgoing messages.

    Args:
        eos_token_ids: ids that end an unconstrained request.
        jump_forward: appends forced text, or None where that is switched off.
        stream_interval: output tokens between two messages of a stream.
        speculation: learns how its drafts fared, or None where that is switched off.
        calm_tokens: output tokens without a jump after which none is expected.
    """

    def __init__(
        self,
        eos_token_ids: frozenset[int],
        jump_forward: JumpForward | None,
        stream_interval: int,
        speculation: NgramSpeculation | None = None,
        calm_tokens: int = CALM_TOKENS,
    ) -> None:
        self._eos = eos_token_ids
        self._jump_forward = jump_forward
        self._stream_interval = stream_interval
        self._speculation = speculation
        self._calm_tokens = calm_tokens
        self.generated_tokens = 0  # forced ones included

    # ------------------------------------------------------------------ tokens

    def take_sampled(self, part: Part, sampled: list[tuple[int, TokenLogprob | None]]) -> None:
        """The token that the request's step has sampled, and those behind drafts that came true.

        kv_len, with two of three drafted tokens right::

            | known | right | right | wrong |      what the step computed
                                    kv_len         the wrong one's slot is written again
        """
        req, draft = part.req, part.draft
        req.pending -= 1
        if draft:  # no later step is on the way
            req.kv_len = part.start + part.length - len(draft)
        accepted = 0
        for guess, (token_id, logprob) in zip([*draft, None], sampled, strict=True):
            appended = self._take_token(req, token_id, logprob)
            if guess != token_id or not appended or req.finish is not None:
                break
            req.kv_len += 1
            accepted += 1
        if draft and self._speculation is not None:
            self._speculation.learn(req, len(draft), accepted)

    def _take_token(self, req: Req, token_id: int, logprob: TokenLogprob | None) -> bool:
        """One sampled token; False if the output did not just grow by it."""
        if req.matcher is not None and not req.matcher.accept_token(token_id):
            req.finish = _UNSPEAKABLE  # its mask was empty
            return False
        if logprob is not None:
            _add_logprob(req.output_logprobs, token_id, logprob)
        self._append(req, token_id)
        if req.finish is None and req.matcher is not None:
            return not self._finish_or_jump(req, req.matcher)
        return True

    def start(self, req: Req) -> None:
        """Before the first step: a grammar may force the output's beginning."""
        if self._jump_forward is not None and req.matcher is not None:
            req.calm_from = req.known_output_len + self._calm_tokens
        if req.matcher is not None and not req.output_len and req.max_output > 0:
            self._finish_or_jump(req, req.matcher)

    def _append(self, req: Req, token_id: int) -> None:
        req.tokens.append(token_id)
        self.generated_tokens += 1
        params = req.params
        output_len = len(req.tokens) - req.prompt_len
        if token_id in self._eos or token_id in params.stop_token_ids:
            if output_len >= params.min_new_tokens and self._ends(req, token_id):
                req.finish = FinishReason("stop", matched=token_id)
                return
        if req.stop_checker is not None:
            matched = req.stop_checker.feed(token_id)
            if matched is not None and output_len >= params.min_new_tokens:
                req.finish = FinishReason("stop", matched=matched)
                return
        if output_len >= req.max_output:
            req.finish = FinishReason("length")

    def _ends(self, req: Req, token_id: int) -> bool:
        if token_id in req.params.stop_token_ids:
            return True
        return not (req.params.ignore_eos and req.matcher is None)

    def _finish_or_jump(self, req: Req, matcher: GrammarMatcher) -> bool:
        """Whether the end of the output was replaced by forced text."""
        jump = None if self._jump_forward is None else self._jump_forward.jump(req)
        if jump is not None:
            self._take_jump(req, jump)
        if req.finish is None and matcher.is_terminated():
            req.finish = FinishReason("stop")
        if jump is not None and req.output_logprobs is not None:
            # Their logprobs are still to come.
            req.ends_when_computed, req.finish = req.finish, None
        return jump is not None

    def _take_jump(self, req: Req, jump: Jump) -> None:
        req.jumps += 1
        req.pending = 0  # what a step on its way samples is void
        if jump.kept < req.known_output_len:
            self.generated_tokens -= req.known_output_len - jump.kept
            req.cut_output(jump.kept)
            if req.stop_checker is not None:
                req.stop_checker.rewind(req.output_ids)
        for token_id in jump.new_ids:
            req.forced_places.add(req.known_output_len)
            self._append(req, token_id)
            req.forced_tokens += 1
            if req.finish is not None:
                break
        req.calm_from = req.known_output_len + self._calm_tokens
        req.compute_from(req.prompt_len + jump.kept)

    # ------------------------------------------------------------------ logprobs

    def take_scored(self, part: Part, scored: list[TokenLogprob]) -> None:
        """Logprobs of prompt tokens and forced ones that this step has computed."""
        req = part.req
        for position, logprob in enumerate(scored, part.score_first):
            logprobs = req.input_logprobs if position < req.prompt_len else req.output_logprobs
            top = logprob.top[: req.request.top_logprobs_num]
            is_forced = position >= req.prompt_len
            _add_logprob(logprobs, req.tokens[position], logprob._replace(top=top), is_forced)

    # ------------------------------------------------------------------ messages

    def report(self, req: Req) -> RequestOutput | None:
        """What the client has not been told yet, if it is time to tell."""
        first = req.sent_len
        sent_len = req.prompt_len + first
        new = req.reportable_len - sent_len
        if req.finish is None and not (req.request.stream and new >= self._stream_interval):
            return None
        req.sent_len += new
        output = RequestOutput(
            rid=req.rid,
            token_ids=req.tokens[sent_len : sent_len + new].tolist(),
            replaced=req.withdrawn,
            finish=req.finish,
            prompt_tokens=req.prompt_len,
            completion_tokens=req.sent_len,
            cached_tokens=req.cached_tokens,
            host_tokens=req.host_tokens,
            forced_tokens=req.forced_tokens,
            forced=[place - first for place in req.forced_places if first <= place < first + new],
            drafted_tokens=req.drafted_tokens,
            accepted_tokens=req.accepted_tokens,
            num_retractions=req.num_retractions,
            times=None if req.finish is None else req.times,
            pooled=req.pooled() if req.finish is not None else b"",
            warnings=req.warnings,
        )
        if req.output_logprobs is not None:
            output.input_logprobs, req.input_logprobs = req.input_logprobs, Logprobs()
            output.output_logprobs = req.output_logprobs.take(new)
        req.withdrawn = 0
        return output


def process(results: ResultProcessor, parts: list[Part], result: StepResult) -> list[Req]:
    """Give a finished step's tokens to the requests that are still there.

    Returns:
        the requests that gained something, finished ones included.
    """
    touched: list[Req] = []
    tokens = zip(result.next_ids, result.sampled_logprobs, strict=True)
    pooled = iter(result.pooled)
    scored = 0
    for part in parts:
        req = part.req
        hidden = next(pooled) if part.pool_from is not None else None
        sampled = [next(tokens) for _ in range(part.num_sampled)]
        num_scored = part.score_last - part.score_first + 1
        if num_scored > 0:
            scored += num_scored
        if req.finish is not None or part.is_void:
            continue
        if num_scored > 0:
            results.take_scored(part, result.scored[scored - num_scored : scored])
        if hidden is not None:
            req.add_hidden(part.start, hidden)
        if sampled:
            results.take_sampled(part, sampled)
        elif part.start + part.length == len(req.tokens):
            req.finish = req.ends_when_computed
        touched.append(req)
    return touched


def _add_logprob(
    logprobs: Logprobs | None, token_id: int, logprob: TokenLogprob, is_forced: bool = False
) -> None:
    assert logprobs is not None
    logprobs.token_ids.append(token_id)
    logprobs.values.append(logprob.value)
    logprobs.top.append(logprob.top)
    logprobs.chosen.append(logprob.chosen)
    logprobs.forced.append(is_forced)
