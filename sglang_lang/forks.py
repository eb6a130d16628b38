"""What the branches of a fork bring back to the program they were forked from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .errors import ProgramError
from .ir import SglExpr, SglRoleBegin
from .origins import SglWritten
from .transcript import Transcript
from .variables import Variable


def gathered(
    known: Mapping[str, Variable],
    branches: Sequence[Mapping[str, Variable]],
    errors: Sequence[ProgramError | None] = (),
) -> dict[str, list[Any]]:
    """Each variable that a branch has set, as the list of its values; None where it has none.

    Args:
        known: the variables at the fork.
        branches: the variables of each branch, all of them done.
        errors: what each branch failed with, which stands for the values that it lacks.
    """
    names = {
        name: None
        for branch in branches
        for name, variable in branch.items()
        if variable is not known.get(name)
    }
    failed = errors or [None] * len(branches)
    return {
        name: [
            _value(branch.get(name), error) for branch, error in zip(branches, failed, strict=True)
        ]
        for name in names
    }


def _value(variable: Variable | None, error: ProgramError | None) -> Any:
    if variable is None:
        return error
    return variable.value.exception() or variable.value.result()


def appended(role: str | None, branches: Sequence[Transcript]) -> Iterator[SglExpr]:
    """What the branches have added, one after the other, for the parent to add again.

    The first one's KV is then already where the parent needs it: in a cache of prefixes it is
    found, and only the others are computed again, at their new places.

    Args:
        role: of the parent's open turn, which each branch has gone on with.
        branches: in order.

    Raises:
        ValueError: a branch ends in a turn of another role, where the next one cannot go on.
    """
    now = role
    for transcript in branches:
        if now != role:
            if now is not None or role is None:
                raise ValueError(
                    f"a fork of a turn of {role!r} ends inside of one of {now!r}, "
                    "so the next one cannot be appended"
                )
            yield SglRoleBegin(role)
        for part in transcript.added:
            yield part.joined() if isinstance(part, SglWritten) else part
        now = transcript.role
