"""A grammar compiled for one vocabulary: the machine over its network, and its masks."""

from __future__ import annotations

from .machine import Machine
from .matcher import AutomatonMatcher
from .native_machine import NativeMachine, NativeVocabulary
from .network import Network
from .vocabulary import Vocabulary


class NetworkGrammar:
    """A compiled network, shared by the requests that use it.

    Args:
        network: the grammar.
        vocabulary: the tokens.
        native: the vocabulary on the C++ side; None runs the machine in Python.
    """

    warnings = ()

    def __init__(
        self, network: Network, vocabulary: Vocabulary, native: NativeVocabulary | None
    ) -> None:
        self._machine = (
            Machine(network, vocabulary) if native is None else NativeMachine(network, native)
        )
        self._vocabulary = vocabulary

    def prepare(self) -> None:
        """Finds the first mask, which every request asks for; not in Python, which is slow."""
        if isinstance(self._machine, NativeMachine):
            self._machine.prepare()

    @property
    def memory_bytes(self) -> int:
        """Bytes it holds now; it grows with use."""
        return self._machine.memory_bytes

    def matcher(self) -> AutomatonMatcher:
        """A fresh matcher at the start of the grammar."""
        return AutomatonMatcher(self._machine, self._vocabulary)
