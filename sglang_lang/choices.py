"""How ``select`` decides between choices from the logprobs of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


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


class ChoicesMethod(Protocol):
    """Decides; ``needs_unconditional`` asks for the choices' logprobs without the prompt too."""

    needs_unconditional: bool

    def __call__(
        self, choices: Sequence[str], scores: Sequence[ChoiceScores]
    ) -> ChoicesDecision: ...


class TokenLengthNormalized:
    """The choice with the highest mean token logprob."""

    needs_unconditional = False

    def __call__(self, choices: Sequence[str], scores: Sequence[ChoiceScores]) -> ChoicesDecision:
        means = [score.mean for score in scores]
        return ChoicesDecision(choices[_argmax(means)], _meta(scores))


class GreedyTokenSelection:
    """Token by token: keep the choices whose next token is likeliest, until one is left.

    A choice that has ended is continued with its own mean, so that a short one can still win.
    """

    needs_unconditional = False

    def __call__(self, choices: Sequence[str], scores: Sequence[ChoiceScores]) -> ChoicesDecision:
        longest = max(len(score.logprobs) for score in scores)
        matrix = [
            score.logprobs + [score.mean] * (longest - len(score.logprobs)) for score in scores
        ]
        left = list(range(len(choices)))
        for column in range(longest):
            best = max(matrix[i][column] for i in left)
            left = [i for i in left if matrix[i][column] == best]
            if len(left) == 1:
                break
        meta = _meta(scores) | {"greedy_logprob_matrix": matrix}
        return ChoicesDecision(choices[left[0]], meta)


class UnconditionalLikelihoodNormalized:
    """The choice that the prompt makes likelier by most, per token.

    Corrects for choices that are common text anyway (Holtzman et al. 2021, section 3).
    """

    needs_unconditional = True

    def __call__(self, choices: Sequence[str], scores: Sequence[ChoiceScores]) -> ChoicesDecision:
        gains = []
        for score in scores:
            alone = [value or 0.0 for value in score.unconditional_logprobs or []]
            pairs = zip(score.logprobs, alone, strict=False)
            gains.append(sum(c - u for c, u in pairs) / max(len(score.logprobs), 1))
        meta = _meta(scores) | {
            "unconditional_token_logprobs": [score.unconditional_logprobs for score in scores],
            "normalized_unconditional_prompt_logprobs": gains,
        }
        return ChoicesDecision(choices[_argmax(gains)], meta)


token_length_normalized = TokenLengthNormalized()
greedy_token_selection = GreedyTokenSelection()
unconditional_likelihood_normalized = UnconditionalLikelihoodNormalized()


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _meta(scores: Sequence[ChoiceScores]) -> dict[str, Any]:
    return {
        "normalized_prompt_logprobs": [score.mean for score in scores],
        "input_token_logprobs": [
            list(zip(score.logprobs, score.token_ids, strict=True)) for score in scores
        ],
    }
