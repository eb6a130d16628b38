"""Documents in the order in which they answer a query.

A model that was trained for embedding compares vectors; any other is asked, document by document,
whether it answers the query, and the probability of "yes" against "no" is the score (Sun et al.,
"Is ChatGPT Good at Search?", and the way Qwen3-Reranker is used).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..messages import Pooling
from .dialect import Conversation, Dialect
from .embedding import pool, unit_vector
from .generation import Generation
from .scoring import label_logprobs, score_labels
from .tokenizer import Tokenizer
from .tokenizer_manager import GenerateInput, TokenizerManager

INSTRUCTION = "Judge whether the document answers the query. Answer with yes or no only."
YES, NO = ("yes", "Yes", " yes", " Yes"), ("no", "No", " no", " No")

Scored = tuple[float, Generation]


async def by_judgement(
    manager: TokenizerManager,
    dialect: Dialect,
    query: str,
    documents: Sequence[str],
    instruction: str | None,
) -> list[Scored]:
    """Score in [0, 1] of each document. The query comes first: all documents share its KV."""
    yes, no = _first_tokens(manager.tokenizer, YES), _first_tokens(manager.tokenizer, NO)
    prompts: list[GenerateInput] = []
    for document in documents:
        messages = [
            {"role": "system", "content": instruction or INSTRUCTION},
            {"role": "user", "content": f"Query: {query}\n\nDocument: {document}"},
        ]
        conversation = Conversation(messages, template_kwargs={"enable_thinking": False})
        prompt = dialect.prompt(conversation)
        ids = await manager.encode(prompt, False, "documents")
        prompts.append(GenerateInput(input_ids=ids, prompt_field="documents"))
    labels = [*yes, *no]
    done = await score_labels(manager, prompts, labels)
    return [(_share(label_logprobs(one, labels), len(yes)), one) for one in done]


async def by_embedding(
    manager: TokenizerManager, pooling: Pooling, query: str, documents: Sequence[str]
) -> list[Scored]:
    """Cosine of each document's vector with the query's."""
    prompts = [GenerateInput(text=text, prompt_field="documents") for text in (query, *documents)]
    done = await pool(manager, prompts, pooling)
    about = unit_vector(done[0])
    return [(float(about @ unit_vector(generation)), generation) for generation in done[1:]]


def _first_tokens(tokenizer: Tokenizer, words: Sequence[str]) -> list[int]:
    """The tokens that the spellings begin with, each once."""
    return list(dict.fromkeys(tokenizer.encode_continuation(word)[0] for word in words))


def _share(logprobs: Sequence[float], num_yes: int) -> float:
    chances = [math.exp(value) for value in logprobs]
    whole = sum(chances)
    return sum(chances[:num_yes]) / whole if whole else 0.0
