"""The branches of a fork, as the program that forked handles them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .background import watch
from .errors import ProgramError, check_on_error
from .executor import StreamExecutor
from .forks import appended, gathered
from .ir import SglExpr, SglExprList
from .place import program_line

if TYPE_CHECKING:
    from .interpreter import ProgramState


class ProgramStateGroup:
    """The children of a fork."""

    def __init__(self, states: list[ProgramState], parent: ProgramState) -> None:
        self.states = states
        self.parent = parent
        self._known = dict(parent.stream_executor.variables)
        self._is_joined = False

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, index: int) -> ProgramState:
        return self.states[index]

    def __setitem__(self, index: int, state: ProgramState) -> None:
        """For ``forks[i] += ...``, which gives back the same state."""
        if state is not self.states[index]:
            raise TypeError("a fork cannot be replaced, only added to")

    def __iter__(self) -> Iterator[ProgramState]:
        return iter(self.states)

    def __iadd__(
        self, other: str | SglExpr | Callable[[int], Any] | Sequence[Any]
    ) -> ProgramStateGroup:
        """Add the same to each child, or what a function of its index or a list gives it."""
        if isinstance(other, list | tuple):
            if len(other) != len(self.states):
                raise ValueError(f"{len(other)} parts for {len(self.states)} forks")
            parts = list(other)
        elif callable(other):
            parts = [other(i) for i in range(len(self.states))]
        else:
            parts = [other] * len(self.states)
        for state, part in zip(self.states, parts, strict=True):
            state += part
        return self

    def join(self, mode: str = "gather_variable", on_error: str = "raise") -> None:
        """Bring the children back to the parent, and end them.

        Args:
            mode: "gather_variable" makes each variable that a child has set a list in the parent;
                "concate_and_append" appends what they have added, one after the other.
            on_error: "raise" the first child's that failed; or "return" them: in the lists the
                error stands for each value that a failed child lacks, and nothing of it is
                appended.

        Raises:
            ProgramError: a child failed, or they have been joined already.
            ValueError: a child ends in another turn than the next one goes on with.
        """
        self._check_join(mode, on_error)
        try:
            for child in self._children:
                _raise_unless_collected(child.mark().exception(), on_error)
            if mode == "concate_and_append":
                self.parent.sync()
            self._bring_back(mode)
        finally:
            for child in self._children:
                child.end()
                self.parent.stream_executor.absorb(child)

    async def ajoin(self, mode: str = "gather_variable", on_error: str = "raise") -> None:
        """``join`` without blocking the event loop."""
        self._check_join(mode, on_error)
        executor = self.parent.stream_executor
        try:
            for child in self._children:
                (ended,) = await asyncio.gather(watch(child.mark()), return_exceptions=True)
                _raise_unless_collected(ended, on_error)
            await watch(executor.mark())
            self._bring_back(mode)
        finally:
            for child in self._children:
                for member in child.family():
                    member.close()
                executor.absorb(child)

    def _check_join(self, mode: str, on_error: str) -> None:
        if mode not in ("gather_variable", "concate_and_append"):
            raise ValueError(f"join mode must be gather_variable or concate_and_append: {mode!r}")
        check_on_error(on_error)
        if self._is_joined:
            raise ProgramError(f"these forks have been joined already\n  in {program_line()}")
        self._is_joined = True

    @property
    def _children(self) -> list[StreamExecutor]:
        return [state.stream_executor for state in self.states]

    def _bring_back(self, mode: str) -> None:
        """What the children have done, all of which is known."""
        executor = self.parent.stream_executor
        if mode == "gather_variable":
            branches = [child.variables for child in self._children]
            errors = [child.error for child in self._children]
            for name, values in gathered(self._known, branches, errors).items():
                executor.set_variable(name, values)
        else:
            transcripts = [child.transcript for child in self._children if child.error is None]
            parts = appended(executor.transcript.role, transcripts)
            executor.submit(SglExprList(list(parts)))


def _raise_unless_collected(ended: Any, on_error: str) -> None:
    """What a child ended with; whatever is no failure of the child's program is raised too."""
    if isinstance(ended, BaseException) and not (
        on_error == "return" and isinstance(ended, ProgramError)
    ):
        raise ended
