"""The way of deltas to the task that reads them, and past it."""

import asyncio

import pytest

from redline.core.shortcut import Shortcut
from redline.engine.mailbox import Mailbox
from redline.engine.outputs import Delta


def delta(text):
    return Delta(request_id="r", text=text)


async def waiting_reader(shortcut):
    mailbox = Mailbox(asyncio.get_running_loop(), shortcut)
    reader = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)  # it waits now
    return mailbox, reader


async def taking(mailbox, reader, taken):
    mailbox.put(delta("a"))
    await asyncio.sleep(0)
    assert not reader.done() and taken == ["a"]
    mailbox.put(delta("b"))  # it is not wanted
    mailbox.put(delta("c"))  # and this comes behind it
    assert (await reader).text == "b" and (await mailbox.get()).text == "c" and taken == ["a"]


def test_what_a_shortcut_takes_does_not_wake_the_reader_and_nothing_overtakes():
    taken = []

    def take(delta):
        if delta.text == "b":
            return False
        taken.append(delta.text)
        return True

    async def main():
        shortcut = Shortcut()
        shortcut.take = take
        await taking(*await waiting_reader(shortcut), taken)

    asyncio.run(main())


def test_nothing_is_taken_while_nobody_waits_or_the_shortcut_is_closed():
    async def main():
        shortcut = Shortcut()
        shortcut.take = lambda delta: pytest.fail("taken")
        mailbox = Mailbox(asyncio.get_running_loop(), shortcut)
        mailbox.put(delta("a"))
        assert (await mailbox.get()).text == "a"
        shortcut.take = None
        reader = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        mailbox.put(delta("b"))
        assert (await reader).text == "b"

    asyncio.run(main())


def test_the_reader_hears_of_a_shortcut_that_fails():
    def take(delta):
        raise ValueError(delta.text)

    async def main():
        shortcut = Shortcut()
        shortcut.take = take
        mailbox, reader = await waiting_reader(shortcut)
        mailbox.put(delta("a"))
        with pytest.raises(ValueError, match="a"):
            await reader

    asyncio.run(main())
