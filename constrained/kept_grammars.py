"""Compiled grammars on disk, by a hash of all that they depend on.

What is kept of a grammar is what its machine was given so far (machine_tables.py), so a later
process neither compiles it nor works out again what may follow where. A grammar is written when it
is asked for again and has learnt something, and at the end of the process.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import unicodedata
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from sglang_lang.kernels.native import cache_folder

from .file_store import FileStore
from .grammar import NetworkGrammar
from .machine_tables import MachineTables, decoded, encoded
from .vocabulary import Vocabulary

FORMAT = "grammar 1"
FOLDER_BYTES = 256 << 20
SOURCES = ("*.py", "*.h", "*.cpp")

Name = tuple[str, ...]  # of a grammar: kind, options, text


def grammar_folder() -> FileStore:
    """Where grammars are kept unless told otherwise."""
    return FileStore(cache_folder() / "grammars", FOLDER_BYTES)


class KeptGrammars:
    """The grammars of one vocabulary on disk.

    Args:
        store: where they are.
        vocabulary: the tokens of their masks.
    """

    def __init__(self, store: FileStore, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._saver = Saver(store)
        self._store = store
        self._keys: dict[Name, str] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keep-grammars")
        weakref.finalize(self, self._saver.save_all)  # also at the end of the process

    def warm_up(self) -> None:
        """Finds out what is the same in all keys, so that the first grammar need not."""
        self._key(())

    def recall(self, name: Name) -> MachineTables | None:
        """What is known of a grammar; None where nothing is."""
        content = self._store.get(self._key(name))
        if content is None:
            return None
        try:
            return decoded(content)
        except ValueError:
            return None

    def note(self, name: Name, grammar: NetworkGrammar) -> None:
        """Says that a grammar was asked for; it is kept from the second time on."""
        if self._saver.note(self._key(name), grammar):
            self._thread.submit(self._saver.save, self._key(name))

    def complete(self, grammar: NetworkGrammar) -> None:
        """Makes the network of a recalled grammar soon, beside whatever comes first."""
        self._thread.submit(grammar.rebuild)

    def save(self) -> None:
        """Writes all that was noted and not written since it changed."""
        self._thread.submit(self._saver.save_all).result()

    def _key(self, name: Name) -> str:
        digest = hashlib.sha256()
        for part in (FORMAT, _engine(), self._vocabulary.digest, *name):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()


class Saver:
    """What was noted, with the number of places of each grammar that are on disk."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._noted: dict[str, tuple[weakref.ref[NetworkGrammar], int]] = {}
        self._lock = threading.Lock()

    def note(self, key: str, grammar: NetworkGrammar) -> bool:
        """Whether it was noted before and has changed since it was written."""
        with self._lock:
            known = self._noted.get(key)
            if known is None or known[0]() is not grammar:
                reference = weakref.ref(grammar, lambda _: self._noted.pop(key, None))
                self._noted[key] = (reference, grammar.num_recalled)
                return False
            return len(grammar.given) > known[1]

    def save(self, key: str) -> None:
        with self._lock:
            reference, num_saved = self._noted.get(key, (None, 0))
            grammar = None if reference is None else reference()
            if reference is None or grammar is None:
                return
            given = list(grammar.given)
            if len(given) <= num_saved:
                return
            self._noted[key] = (reference, len(given))
        self._store.put(key, encoded(given))

    def save_all(self) -> None:
        for key in list(self._noted):
            self.save(key)


@cache
def _engine() -> str:
    """A hash of this package's sources and of what else its grammars are made by."""
    digest = hashlib.sha256(f"{sys.version} {unicodedata.unidata_version} {sys.byteorder}".encode())
    folder = Path(__file__).parent
    for path in sorted(path for pattern in SOURCES for path in folder.rglob(pattern)):
        digest.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
