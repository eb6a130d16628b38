"""Tiles over rows that belong to groups of unequal length, found on the device.

The launch needs only the number of rows and of groups, which the host knows from shapes: no
length is read back, and one captured graph serves every way the rows fall into groups.
"""

from __future__ import annotations

import triton
import triton.language as tl


def max_tiles(num_rows: int, num_groups: int, tile: int) -> int:
    """The most tiles that ``num_rows`` rows can need, however they fall into groups."""
    return num_rows // tile + min(num_rows, num_groups)


@triton.jit
def ragged_tile(
    starts: tl.tensor,
    num_groups: tl.tensor,
    tile: tl.tensor,
    TILE: tl.constexpr,
    BLOCK_GROUPS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Which rows the tile-th program works on.

    starts: [num_groups + 1] int32, the rows at which groups begin, then the number of rows.

    Returns the group (num_groups if there is no such tile), the rows at which the group begins
    and ends, and the tile's first row.
    """
    groups = tl.arange(0, BLOCK_GROUPS)
    present = groups < num_groups
    begins = tl.load(starts + groups, mask=present, other=0)
    ends = tl.load(starts + groups + 1, mask=present, other=0)
    tiles = (ends - begins + TILE - 1) // TILE
    through = tl.cumsum(tiles, 0)  # tiles up to and with each group
    group = tl.sum(((through <= tile) & present).to(tl.int32), 0)
    before = tl.sum(tl.where(groups < group, tiles, 0), 0)
    exists = group < num_groups
    begin = tl.load(starts + group, mask=exists, other=0)
    end = tl.load(starts + group + 1, mask=exists, other=0)
    return group, begin, end, begin + (tile - before) * TILE
