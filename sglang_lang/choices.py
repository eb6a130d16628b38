"""How ``select`` decides between choices from the logprobs of their tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

# Logprob, token id and (where a backend gives it) text of a token. The first token of a text that
# is scored alone has no logprob.
TokenLogprob: TypeAlias = tuple[float | None, int, str | None]
TokenLogprobs: TypeAlias = Sequence[TokenLogprob]


@dataclass(frozen=True, slots=True)
class ChoiceScores:
    """Token logprobs of one choice as the prompt's continuation, and alone where asked for."""

    token_ids: list[int]
    logprobs: list[float]
    unconditional_logprobs: list[float | None] | None = None

    @property
    def mean(self) -> float:
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0


@dataclass(frozen=True, slots=True)
class ChoicesDecision:
    decision: str
    meta_info: dict[str, Any] = field(default_factory=dict)


class ChoicesSamplingMethod(ABC):
    """Decides between choices; subclass it for a rule of your own."""

    @property
    def requires_unconditional_logprobs(self) -> bool:
        """Whether the choices are to be scored without the prompt too."""
        return False

    @abstractmethod
    def __call__(
        self,
        *,
        choices: list[str],
        normalized_prompt_logprobs: list[float],
        input_token_logprobs: list[TokenLogprobs],
        output_token_logprobs: list[TokenLogprobs],
        unconditional_token_logprobs: list[TokenLogprobs] | None = None,
    ) -> ChoicesDecision:
        """Decide.

        Args:
            choices: the texts.
            normalized_prompt_logprobs: for each choice the mean logprob of its tokens.
            input_token_logprobs: for each choice its tokens after the prompt.
            output_token_logprobs: for each choice an empty list; nothing is generated.
            unconditional_token_logprobs: for each choice its tokens scored without the prompt,
                if ``requires_unconditional_logprobs``.
        """


def decide(
    method: ChoicesSamplingMethod, choices: Sequence[str], scores: Sequence[ChoiceScores]
) -> ChoicesDecision:
    """What ``method`` makes of the scores; its meta_info holds them as well."""
    means = [score.mean for score in scores]
    tokens = [_tokens(score.logprobs, score.token_ids) for score in scores]
    alone = None
    if method.requires_unconditional_logprobs:
        alone = [_tokens(score.unconditional_logprobs or (), score.token_ids) for score in scores]
    decision = method(
        choices=list(choices),
        normalized_prompt_logprobs=means,
        input_token_logprobs=tokens,
        output_token_logprobs=[[] for _ in choices],
        unconditional_token_logprobs=alone,
    )
    known = {"normalized_prompt_logprobs": means, "input_token_logprobs": tokens}
    return ChoicesDecision(decision.decision, {**known, **decision.meta_info})


class TokenLengthNormalized(ChoicesSamplingMethod):
    """The choice with the highest mean token logprob."""

    def __call__(
        self, *, choices: list[str], normalized_prompt_logprobs: list[float], **others: Any
    ) -> ChoicesDecision:
        return ChoicesDecision(choices[_argmax(normalized_prompt_logprobs)])


class GreedyTokenSelection(ChoicesSamplingMethod):
    """Token by token: keep the choices whose next token is likeliest, until one is left.

    A choice that has ended is continued with its own mean, so that a short one can still win.
    """

    def __call__(
        self,
        *,
        choices: list[str],
        normalized_prompt_logprobs: list[float],
        input_token_logprobs: list[TokenLogprobs],
        **others: Any,
    ) -> ChoicesDecision:
        longest = max(len(tokens) for tokens in input_token_logprobs)
        matrix = [
            _logprobs(tokens) + [mean] * (longest - len(tokens))
            for tokens, mean in zip(input_token_logprobs, normalized_prompt_logprobs, strict=True)
        ]
        left = list(range(len(choices)))
        for column in range(longest):
            best = max(matrix[i][column] for i in left)
            left = [i for i in left if matrix[i][column] == best]
            if len(left) == 1:
                break
        return ChoicesDecision(choices[left[0]], {"greedy_logprob_matrix": matrix})


class UnconditionalLikelihoodNormalized(ChoicesSamplingMethod):
    """The choice that the prompt makes likelier by most, per token.

    Corrects for choices that are common text anyway (Holtzman et al. 2021, section 3).
    """

    @property
    def requires_unconditional_logprobs(self) -> bool:
        return True

    def __call__(
        self,
        *,
        choices: list[str],
        input_token_logprobs: list[TokenLogprobs],
        unconditional_token_logprobs: list[TokenLogprobs] | None = None,
        **others: Any,
    ) -> ChoicesDecision:
        if unconditional_token_logprobs is None:
            raise ValueError("this method needs unconditional_token_logprobs")
        gains = []
        for given, alone in zip(input_token_logprobs, unconditional_token_logprobs, strict=True):
            pairs = zip(_logprobs(given), _logprobs(alone), strict=False)
            gains.append(sum(c - u for c, u in pairs) / max(len(given), 1))
        meta = {
            "unconditional_token_logprobs": unconditional_token_logprobs,
            "normalized_unconditional_prompt_logprobs": gains,
        }
        return ChoicesDecision(choices[_argmax(gains)], meta)


token_length_normalized = TokenLengthNormalized()
greedy_token_selection = GreedyTokenSelection()
unconditional_likelihood_normalized = UnconditionalLikelihoodNormalized()


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _tokens(logprobs: Sequence[float | None], token_ids: Sequence[int]) -> TokenLogprobs:
    return [(logprob, i, None) for logprob, i in zip(logprobs, token_ids, strict=False)]


def _logprobs(tokens: TokenLogprobs) -> list[float]:
    return [logprob or 0.0 for logprob, _, _ in tokens]
