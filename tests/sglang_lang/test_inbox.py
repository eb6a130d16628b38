"""The queue from a program's threads to the loop that runs it."""

from __future__ import annotations

import asyncio
import threading

from sglang_lang.background import background_loop, spawn
from sglang_lang.inbox import Inbox


def test_nothing_is_lost_of_what_several_threads_put_in() -> None:
    inbox: Inbox[tuple[int, int]] = Inbox(background_loop())
    threads, each = 4, 500

    async def read() -> list[tuple[int, int]]:
        return [await inbox.get() for _ in range(threads * each)]

    def write(thread: int) -> None:
        for number in range(each):
            inbox.put((thread, number))

    reading = spawn(read())
    writers = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for writer in writers:
        writer.start()
    got = reading.result(30)
    for thread in range(threads):
        assert [number for one, number in got if one == thread] == list(range(each))


async def test_a_reader_that_gives_up_leaves_the_next_item_to_others() -> None:
    inbox: Inbox[str] = Inbox(asyncio.get_running_loop())
    first = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    first.cancel()
    inbox.put("a")
    assert await inbox.get() == "a"
    await asyncio.wait([first])
    assert first.cancelled()
