"""Retrieval: a BM25 index over a folder of texts finds what the model then answers from.

python examples/rag.py [FOLDER of .txt files]        (pip install 'sglang-lang[examples]')
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import bm25s
import Stemmer

import sglang_lang as sgl

DOCUMENTS = Path(__file__).with_name("documents")
QUESTIONS = [
    "Who built the lighthouse?",
    "How long does sourdough rest before it is baked?",
    "What gives corals their colour?",
    "How much is a return ticket of the railway?",
]


class Passage(NamedTuple):
    """A sentence, and the file that it is from."""

    source: str
    text: str


class Index:
    """Finds the sentences of a folder's texts that share rare words with a question.

    Args:
        folder: of ``.txt`` files.
    """

    def __init__(self, folder: Path) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self._passages = [
            Passage(path.name, sentence.rstrip(".") + ".")
            for path in sorted(folder.glob("*.txt"))
            for sentence in path.read_text(encoding="utf-8").strip().split(". ")
        ]
        titled = [f"{Path(source).stem} {text}" for source, text in self._passages]
        self._bm25 = bm25s.BM25()
        self._bm25.index(self._tokens(titled), show_progress=False)

    def find(self, question: str, count: int) -> list[Passage]:
        """The ``count`` best sentences, in the order of the texts."""
        found, _ = self._bm25.retrieve(self._tokens([question]), k=count, show_progress=False)
        return [self._passages[number] for number in sorted(found[0])]

    def _tokens(self, texts: list[str]) -> bm25s.tokenization.Tokenized:
        tokens = bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)
        assert isinstance(tokens, bm25s.tokenization.Tokenized)
        return tokens


@sgl.function
def answer(s: sgl.ProgramState, passages: list[Passage], question: str) -> None:
    s += "Text: Ada Lovelace was born in 1815 in London.\n"
    s += "Question: Where was Ada Lovelace born?\nAnswer: in London\n\n"
    s += "Text: The bridge was opened in 1932. It is 503 metres long.\n"
    s += "Question: How long is the bridge?\nAnswer: 503 metres\n\n"
    s += "Text: Salmon come back to the river of their birth, where they lay their eggs.\n"
    s += "Question: What do salmon lay?\nAnswer: their eggs\n\n"
    s += f"Text: {' '.join(passage.text for passage in passages)}\nQuestion: {question}\n"
    s += "Answer:" + sgl.gen("answer", stop="\n", max_tokens=24)


def main() -> None:
    index = Index(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS)
    batch = [(index.find(question, 2), question) for question in QUESTIONS]
    with sgl.Engine(log_level="warning") as engine:
        states = answer.run_batch(batch, temperature=0, backend=engine)
    for (passages, question), state in zip(batch, states, strict=True):
        print(f"{question}\n  answer:{state['answer']}")
        for source, text in passages:
            print(f"  {source}: {text}")


if __name__ == "__main__":
    main()
