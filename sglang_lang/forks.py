"""What the branches of a fork bring back to the program they were forked from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .ir import SglExpr, SglRoleBegin
from .origins import SglWritten
from .transcript import Transcript
from .variables import Variable


def gathered(
    known: Mapping[str, Variable], branches: Sequence[Mapping[str, Variable]]
) -> dict[str, list[Any]]:
    """Each variable that a branch has set, as the list of its values; None where it has none.

    Args:
        known: the variables at the fork.
        branches: the variables of each branch, all of them done.
    """
    names = {
        name: None
        for branch in branches
        for name, variable in branch.items()
        if variable is not known.get(name)
    }
    return {
        name: [branch[name].value.result() if name in branch else None for branch in branches]
        for name in names
    }


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
