"""Prompts of a benchmark: random words, shared prefixes, ShareGPT, or a file of the user's."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CommandError

# Each is one token in the vocabularies of common models, with the space before it.
WORDS = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work government "
    "number night point home water room mother area money story fact month lot right study book"
).split()


@dataclass(frozen=True, slots=True)
class Item:
    """One request: its prompt, and how many tokens to ask for."""

    prompt: str
    output_len: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a dataset; lengths in tokens, counted as words."""

    num_prompts: int
    seed: int = 1
    path: Path | None = None
    output_len: int | None = None  # instead of what the dataset says
    random_input_len: int = 1024
    random_output_len: int = 1024
    random_range_ratio: float = 0.0  # shortest, as a part of the longest
    gsp_num_groups: int = 64
    gsp_prompts_per_group: int = 16
    gsp_system_prompt_len: int = 2048
    gsp_question_len: int = 128
    gsp_output_len: int = 256


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def random_words(settings: Settings) -> list[Item]:
    """Lengths drawn evenly between ``random_range_ratio`` of the longest and the longest."""
    rng = random.Random(settings.seed)

    def length(most: int) -> int:
        return rng.randint(max(1, int(most * settings.random_range_ratio)), most)

    return [
        Item(words(rng, length(settings.random_input_len)), length(settings.random_output_len))
        for _ in range(settings.num_prompts)
    ]


def shared_prefixes(settings: Settings) -> list[Item]:
    """Groups of questions behind one system prompt each, in random order."""
    rng = random.Random(settings.seed)
    items = []
    for _ in range(settings.gsp_num_groups):
        system = words(rng, settings.gsp_system_prompt_len)
        for _ in range(settings.gsp_prompts_per_group):
            question = words(rng, settings.gsp_question_len)
            items.append(Item(f"{system}\n\n{question}", settings.gsp_output_len))
    rng.shuffle(items)
    return items


def sharegpt(settings: Settings) -> list[Item]:
    """First turns of ShareGPT's conversations, and answers as long as the second turns."""
    found = [
        (turns[0]["value"], turns[1]["value"])
        for entry in _load(settings)
        if len(turns := entry.get("conversations", entry.get("conversation", []))) >= 2
    ]
    random.Random(settings.seed).shuffle(found)
    return [
        Item(prompt, settings.output_len or max(len(answer.split()), 4))
        for prompt, answer in found[: settings.num_prompts]
    ]


def custom(settings: Settings) -> list[Item]:
    """A JSON Lines file of objects with ``prompt``, and maybe ``output_len``."""
    default = settings.output_len or settings.random_output_len
    return [
        Item(str(entry["prompt"]), settings.output_len or int(entry.get("output_len", default)))
        for entry in _load(settings)[: settings.num_prompts]
    ]


DATASETS: dict[str, Callable[[Settings], list[Item]]] = {
    "random": random_words,
    "sharegpt": sharegpt,
    "generated-shared-prefix": shared_prefixes,
    "custom": custom,
}


def _load(settings: Settings) -> Sequence[Any]:
    if settings.path is None:
        raise CommandError("this dataset needs --dataset-path")
    try:
        text = settings.path.read_text()
        if settings.path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        loaded: list[Any] = json.loads(text)
        return loaded
    except (OSError, ValueError) as error:
        raise CommandError(f"--dataset-path {settings.path} cannot be read: {error}") from error
