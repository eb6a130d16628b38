"""What share of MaskBench's real schemas the native engine gets right.

    python -m benchmarks.maskbench DIR [--count 1000] [--fixed-order]

DIR is ``maskbench/data`` of a checkout of guidance-ai/jsonschemabench. A schema passes if it is
compiled, every valid instance of its tests is admitted and every invalid one is refused. Instances
are spelled with the default separators. Schemas that are refused are counted by reason.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sglang_lang.constrained.errors import GrammarError
from sglang_lang.constrained.grammar import NetworkGrammar
from sglang_lang.constrained.json_options import JsonOptions
from sglang_lang.constrained.json_schema.network import JsonNetwork
from sglang_lang.constrained.json_text import parse_json
from sglang_lang.constrained.native_machine import NativeVocabulary
from sglang_lang.constrained.vocabulary import Vocabulary

EOS = 256
VOCABULARY = Vocabulary.from_token_bytes([*(bytes([b]) for b in range(256)), None], [EOS])
NOT_REAL = ("Handwritten", "Synthesized")
MAX_LEN, MAX_DEPTH = 4 << 20, 256
SEED = 20251122


@dataclass(slots=True)
class Outcome:
    """Counts over some schemas and the instances of their tests."""

    schemas: int = 0
    passed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    valid: int = 0
    rejected: int = 0  # valid instances that are not admitted
    invalid: int = 0
    admitted: int = 0  # invalid instances that are
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        for name in ("schemas", "passed", "valid", "rejected", "invalid", "admitted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused.update(other.refused)
        self.wrong += other.wrong

    def row(self, name: str) -> str:
        return (
            f"| {name} | {self.schemas} | {100 * self.passed / self.schemas:.1f} % "
            f"| {self.refused.total()} | {self.rejected}/{self.valid} "
            f"| {self.admitted}/{self.invalid} |"
        )


def judge(path: Path, options: JsonOptions, native: NativeVocabulary) -> Outcome:
    """The outcome of one file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    outcome = Outcome(schemas=1)
    try:
        schema = parse_json(
            json.dumps(data["schema"]), "schema", max_len=MAX_LEN, max_depth=MAX_DEPTH
        )
        network = JsonNetwork(schema, options)
        grammar = NetworkGrammar(lambda: network, VOCABULARY, native)
    except GrammarError as error:
        outcome.refused[error.keyword or error.message[:60]] += 1
        return outcome
    for test in data.get("tests", []):
        admitted = admits(grammar, test["data"])
        if test["valid"]:
            outcome.valid += 1
            outcome.rejected += not admitted
        else:
            outcome.invalid += 1
            outcome.admitted += admitted
    outcome.passed = int(not outcome.rejected and not outcome.admitted)
    if not outcome.passed:
        outcome.wrong.append(f"{path.stem}: {'under' if outcome.admitted else 'over'}")
    return outcome


def admits(grammar: NetworkGrammar, instance: Any) -> bool:
    """Whether the instance can be written token by token, and the output may end then."""
    matcher = grammar.matcher()
    text = json.dumps(instance, ensure_ascii=False).encode(errors="surrogatepass")
    return all(map(matcher.accept_token, text)) and matcher.is_accepting()


def real_files(folder: Path, count: int | None) -> list[Path]:
    found = [
        path
        for path in sorted(folder.glob("*---*.json"))
        if path.name.partition("---")[0] not in NOT_REAL
    ]
    return found if count is None else sorted(random.Random(SEED).sample(found, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--fixed-order", action="store_true")
    args = parser.parse_args()
    options = JsonOptions(any_order=not args.fixed_order)
    native = NativeVocabulary(VOCABULARY)
    subsets: dict[str, Outcome] = {}
    total = Outcome()
    for path in real_files(args.folder, args.count):
        outcome = judge(path, options, native)
        subsets.setdefault(path.name.partition("---")[0], Outcome()).add(outcome)
        total.add(outcome)
    print("| subset | schemas | pass | refused | valid rejected | invalid admitted |")
    print("| --- " * 6 + "|")
    for name, outcome in subsets.items():
        print(outcome.row(name))
    print(total.row("all"))
    print("refused:", ", ".join(f"{reason} {n}" for reason, n in total.refused.most_common(25)))
    print("wrong:", *total.wrong, sep="\n  ")


if __name__ == "__main__":
    main()
