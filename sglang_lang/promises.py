"""What a running program owes its readers: the values of variables, and word that it is so far.

Every promise is kept or broken, so that no reader waits for ever.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from concurrent.futures import Future
from typing import Any

from .errors import ProgramError, UnknownVariableError
from .place import program_line
from .variables import Variable


class Promises:
    """Made by the program's thread, kept by the one that runs it.

    Args:
        variables: known from the start.
    """

    def __init__(self, variables: dict[str, Variable]) -> None:
        self.variables = variables
        self.error: ProgramError | None = None
        # Of each name the values to come, in the order in which they will be known.
        self._owed: defaultdict[str, deque[Variable]] = defaultdict(deque)
        self._marks: set[Future[None]] = set()
        self._over = False
        # Held while something is promised or all promises are broken, so that none is made after
        # the failure that would have broken it.
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        """Promises made inside are broken by any later failure.

        Raises:
            ProgramError: the program has failed.
        """
        self._lock.acquire()
        if self.error is not None:
            self._lock.release()
            raise self.error

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    @property
    def is_waited_for(self) -> bool:
        return bool(self._marks)

    # ------------------------------------------------------------------ variables

    def declare(self, name: str) -> None:
        """The variable exists from now on; its value will be known later."""
        with self._lock:
            variable = self.variables[name] = Variable()
            self._owed[name].append(variable)

    def owed(self, name: str | None) -> Variable:
        """The variable whose value comes next of all of this name; for None one of nobody."""
        return self._owed[name][0] if name is not None else Variable()

    def keep(self, name: str, value: Any, meta_info: Any = None) -> None:
        """The value of the earliest declaration of this name."""
        with self._lock:
            if self.error is None:  # else they are all broken already
                variable = self._owed[name].popleft()
                variable.meta_info = meta_info
                variable.value.set_result(value)

    def assign(self, name: str, value: Any) -> None:
        """A value that is known now."""
        variable = Variable()
        variable.value.set_result(value)
        with self._lock:
            self.variables[name] = variable

    def variable(self, name: str) -> Variable:
        found = self.variables.get(name)
        if found is None:
            if self.error is not None:
                raise self.error
            known = ", ".join(self.variables) or "none"
            raise UnknownVariableError(
                f"the program has no variable {name!r}; it has: {known}\n  in {program_line()}"
            )
        return found

    # ------------------------------------------------------------------ marks

    def mark(self) -> tuple[Future[None], bool]:
        """Word that everything so far is done, and whether it is still to come."""
        mark: Future[None] = Future()
        with self._lock:
            waits = not self._over and self.error is None
            if waits:
                self._marks.add(mark)
            else:
                self._settle(mark)
        return mark, waits

    def reach(self, mark: Future[None]) -> None:
        """Everything up to the mark is done."""
        with self._lock:
            self._settle(mark)

    def finish(self) -> None:
        """Nothing more will be done."""
        with self._lock:
            self._over = True
            for mark in list(self._marks):
                self._settle(mark)

    def fail(self, error: ProgramError) -> None:
        """Break all promises; the first error stands."""
        with self._lock:
            if self.error is not None:
                return
            self.error = error
            for variables in self._owed.values():
                for variable in variables:
                    variable.value.set_exception(error)
            for mark in list(self._marks):
                self._settle(mark)

    def _settle(self, mark: Future[None]) -> None:
        self._marks.discard(mark)
        if not mark.done():
            if self.error is not None:
                mark.set_exception(self.error)
            else:
                mark.set_result(None)
