"""A grammar compiled for one vocabulary: the machine over its network, and its masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .machine import Machine
from .machine_tables import Given, MachineTables
from .matcher import AutomatonMatcher
from .native_machine import NativeMachine, NativeVocabulary
from .network import Network
from .vocabulary import Vocabulary


class NetworkGrammar:
    """A compiled network, shared by the requests that use it.

    Args:
        network: gives the grammar, always the same; asked when something of it is needed.
        vocabulary: the tokens.
        native: the vocabulary on the C++ side; None runs the machine in Python.
        tables: what is known of the grammar from an earlier process; for the C++ side only.
    """

    warnings = ()

    def __init__(
        self,
        network: Callable[[], Network],
        vocabulary: Vocabulary,
        native: NativeVocabulary | None,
        tables: MachineTables | None = None,
    ) -> None:
        self.network = network
        self.num_recalled = 0 if tables is None else len(tables.given)
        self._machine = (
            Machine(network(), vocabulary)
            if native is None
            else NativeMachine(network, native, tables)
        )
        self._vocabulary = vocabulary

    @property
    def given(self) -> Sequence[Given]:
        """What the C++ side has been given of the network so far."""
        return self._machine.given if isinstance(self._machine, NativeMachine) else ()

    def rebuild(self) -> None:
        """Makes the network, where that is not known, before a text leads beyond the tables."""
        if isinstance(self._machine, NativeMachine):
            self._machine.rebuild()

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
