"""The prompts that every server and library is measured with, fixed by a seed.

single  one request after another: how fast one user reads
batch   32 requests at once, no shared prefix: throughput of decoding
prefix  48 requests on 900 shared words: what the radix cache saves
chat    8 conversations of 5 turns, each turn on the last one's answer
json    16 requests constrained by one JSON schema
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

NOUNS = (
    "river window garden letter engine market bridge candle forest island mirror pocket basket "
    "ladder harbor blanket compass lantern meadow orchard pillow ribbon saddle temple tunnel "
    "valley village wagon winter morning evening shadow silver copper marble cotton thunder "
    "summer kitchen teacher doctor farmer sailor painter soldier brother sister daughter cousin"
).split()

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "age", "city", "skills", "status"],
    "properties": {
        "name": {"type": "string", "maxLength": 24},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "city": {"type": "string", "maxLength": 24},
        "skills": {
            "type": "array",
            "items": {"type": "string", "maxLength": 16},
            "minItems": 2,
            "maxItems": 3,
        },
        "status": {"enum": ["active", "retired", "suspended"]},
    },
}


@dataclass(frozen=True, slots=True)
class Completions:
    """Prompts to complete, and how many tokens each must give."""

    prompts: list[str]
    new_tokens: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """The opening of a conversation and what the user says at each turn."""

    opening: str
    questions: list[str]
    new_tokens: int = 32


def scaled(count: int, scale: float) -> int:
    return max(1, round(count * scale))


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(NOUNS, k=words))


def single(seed: int, scale: float = 1.0) -> Completions:
    rng = random.Random(f"single {seed}")
    return Completions([sentence(rng, 64) for _ in range(scaled(3, scale))], 128)


def batch(seed: int, scale: float = 1.0) -> Completions:
    rng = random.Random(f"batch {seed}")
    return Completions([sentence(rng, 96) for _ in range(scaled(32, scale))], 96)


def prefix(seed: int, scale: float = 1.0) -> Completions:
    rng = random.Random(f"prefix {seed}")
    shared = sentence(rng, 900)
    ends = [sentence(rng, 16) for _ in range(scaled(48, scale))]
    return Completions([f"{shared} Q: {end} A:" for end in ends], 16)


def chat(seed: int, scale: float = 1.0) -> list[Conversation]:
    conversations = []
    for index in range(scaled(8, scale)):
        rng = random.Random(f"chat {seed} {index}")
        opening = sentence(rng, 200)
        conversations.append(Conversation(opening, [sentence(rng, 32) for _ in range(5)]))
    return conversations


def people(seed: int, scale: float = 1.0) -> list[str]:
    """User turns that ask for JSON of ``SCHEMA``."""
    count = scaled(16, scale)
    return [f"Describe person {index} of group {seed} as JSON." for index in range(count)]
