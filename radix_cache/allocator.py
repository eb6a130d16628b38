"""The free list of KV slots, in pages.

It knows which pages are free and nothing of who holds the others. Page 0 is never handed out: its
slots are where padding reads and writes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]


class TokenAllocator:
    """Hands out KV slots in whole pages.

    The token at position p of a sequence lies in a slot with ``slot % page_size == p % page_size``,
    so a page belongs to one sequence from its first slot on, and freeing that first slot frees the
    page. Freeing only later slots of a page (tokens taken back at the end of a sequence) keeps
    the page for ``alloc_extend`` to continue in.

    Args:
        num_slots: slots of the KV pool, page 0 among them.
        page_size: tokens to a page.
    """

    def __init__(self, num_slots: int, page_size: int = 1) -> None:
        if page_size < 1 or num_slots < 2 * page_size:
            raise ValueError(
                f"{num_slots} slots hold no page of {page_size} tokens besides the reserved page 0"
            )
        self.page_size = page_size
        self._num_pages = num_slots // page_size - 1
        self._offsets = np.arange(page_size, dtype=np.int32)
        self.reset()

    def reset(self) -> None:
        """Take every page back."""
        # A stack, its top at the end; the first pages handed out are 1, 2, 3 ...
        self._stack = np.arange(self._num_pages, 0, -1, dtype=np.int32)
        self._num_free = self._num_pages
        self._is_free = np.ones(self._num_pages + 1, dtype=np.bool_)
        self._is_free[0] = False

    @property
    def capacity(self) -> int:
        """Tokens that fit when nothing is allocated."""
        return self._num_pages * self.page_size

    def available(self) -> int:
        """Tokens that fit in the free pages."""
        return self._num_free * self.page_size

    def alloc(self, num_tokens: int) -> Int32Array | None:
        """Slots [num_tokens] int32 in fresh pages, or None when too few are free."""
        pages = self._take_pages(-(-num_tokens // self.page_size))
        if pages is None or self.page_size == 1:
            return pages
        slots = pages[:, None] * np.int32(self.page_size) + self._offsets
        return slots.reshape(-1)[:num_tokens]

    def alloc_extend(
        self, last_slot: int | None, prefix_len: int, num_tokens: int
    ) -> Int32Array | None:
        """Slots for the next tokens of a sequence, first those left in its last page.

        Args:
            last_slot: slot of the sequence's last token; None when it has none.
            prefix_len: tokens the sequence has.
            num_tokens: tokens to add.

        Returns:
            [num_tokens] int32, or None (and nothing allocated) when too few are free.
        """
        if last_slot is None:
            return self.alloc(num_tokens)
        room = min(-prefix_len % self.page_size, num_tokens)
        fresh = self.alloc(num_tokens - room)
        if fresh is None or room == 0:
            return fresh
        return np.concatenate(
            (np.arange(last_slot + 1, last_slot + 1 + room, dtype=np.int32), fresh)
        )

    def alloc_decode(self, last_slots: Int32Array, prefix_lens: Int32Array) -> Int32Array | None:
        """``alloc_extend`` by one token for B sequences at once.

        Args:
            last_slots: [B] slot of each sequence's last token.
            prefix_lens: [B] tokens each sequence has, at least 1.

        Returns:
            [B] int32, or None (and nothing allocated) when too few are free.
        """
        starts_page = prefix_lens % self.page_size == 0
        pages = self._take_pages(int(np.count_nonzero(starts_page)))
        if pages is None:
            return None
        slots = (last_slots + 1).astype(np.int32)
        slots[starts_page] = pages * np.int32(self.page_size)
        return slots

    def free(self, slots: Int32Array) -> None:
        """Give slots back; a page is free once its first slot is."""
        if self.page_size == 1:
            pages = slots
        else:
            pages = slots[slots % self.page_size == 0] // self.page_size
        count = len(pages)
        if count == 0:
            return
        assert not self._is_free[pages].any(), f"freed twice: slots {slots}"
        self._is_free[pages] = True
        # Reversed, so that the pages come out again in the order they were in.
        self._stack[self._num_free : self._num_free + count] = pages[::-1]
        self._num_free += count

    def is_allocated(self, slots: Int32Array) -> bool:
        """Whether every one of the slots lies in a page that is handed out."""
        pages = slots // self.page_size
        return bool((pages > 0).all()) and not self._is_free[pages].any()

    def _take_pages(self, count: int) -> Int32Array | None:
        if count > self._num_free:
            return None
        start = self._num_free - count
        pages = self._stack[start : self._num_free][::-1].copy()
        self._num_free = start
        self._is_free[pages] = False
        return pages
