"""The body of /v1/completions, checked, as single requests."""

from __future__ import annotations

from ...errors import RequestError
from ...text.infill import infill_prompt
from ...text.tokenizer import Tokenizer
from ...text.tokenizer_manager import GenerateInput, with_samples
from .prompt_list import prompt_list
from .sampling_body import SamplingBody

MAX_LOGPROBS = 100
MAX_BEST_OF = 20
DEFAULT_MAX_TOKENS = 16


class CompletionBody(SamplingBody, kw_only=True):
    prompt: str | list[str | int | list[int]]
    max_tokens: int | None = DEFAULT_MAX_TOKENS
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    def token_limit(self) -> tuple[int | None, str]:
        return self.max_tokens, "max_tokens"

    @property
    def count(self) -> int:
        """How many answers each prompt gets."""
        return 1 if self.n is None else self.n

    @property
    def candidates(self) -> int:
        """How many are generated to choose them from."""
        return self.count if self.best_of is None else self.best_of

    def inputs(self, rid: str, tokenizer: Tokenizer) -> list[list[GenerateInput]]:
        """For each prompt, the requests of its candidates.

        Raises:
            RequestError: a field is wrong.
        """
        self._check()
        limit = DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        params = self.sampling_params(limit)
        if self.candidates != params.n:
            params = params.with_changes(n=self.candidates)
        prompts = prompt_list(self.prompt, "prompt")
        parts: list[list[GenerateInput]] = []
        for i, prompt in enumerate(prompts):
            if self.suffix:
                prompt = infill_prompt(tokenizer, prompt, self.suffix)
            request = GenerateInput(
                text=prompt if isinstance(prompt, str) else None,
                input_ids=None if isinstance(prompt, str) else prompt,
                sampling_params=params,
                stream=bool(self.stream),
                return_logprob=self.logprobs is not None or self.candidates > self.count,
                logprob_start_len=0 if self.echo and self.logprobs is not None else None,
                top_logprobs_num=self.logprobs or 0,
                priority=self.priority or 0,
                extra_key=self.namespace,
                prompt_field="prompt",
                param_names=self.param_names(),
            )
            parts.append(with_samples(request, rid if len(prompts) == 1 else f"{rid}_{i}"))
        return parts

    def _check(self) -> None:
        self.check_whole()
        if self.logprobs is not None and not 0 <= self.logprobs <= MAX_LOGPROBS:
            raise RequestError(f"logprobs must be in [0, {MAX_LOGPROBS}]", param="logprobs")
        if self.best_of is not None and not self.count <= self.best_of <= MAX_BEST_OF:
            raise RequestError(
                f"best_of must be in [n, {MAX_BEST_OF}] = [{self.count}, {MAX_BEST_OF}], got "
                f"{self.best_of}",
                param="best_of",
            )
        if self.stream and self.candidates > self.count:
            raise RequestError(
                "best_of greater than n cannot be streamed: the best are known at the end",
                param="best_of",
            )
        if self.echo and self.suffix:
            raise RequestError("echo and suffix exclude each other", param="suffix")
