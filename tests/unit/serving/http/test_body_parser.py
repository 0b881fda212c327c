"""Body parser: large bodies leave the event loop free, small ones do not leave it."""

import asyncio
import gc
import threading

import pytest
from waiting import WAIT_SECONDS

from serving.errors import ClientGoneError, InvalidRequestError
from serving.http.body_parser import MAX_INLINE_BYTES, BodyParser

LARGE = MAX_INLINE_BYTES + 1


def connected():
    return False


def test_the_event_loop_runs_while_a_large_body_is_parsed():
    has_run = threading.Event()

    async def serve():
        parsing = asyncio.create_task(BodyParser().run(lambda: has_run.wait(WAIT_SECONDS), LARGE, connected))
        # By then the parser waits for what only the event loop does.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        has_run.set()
        return await parsing

    assert asyncio.run(serve())


def test_a_small_body_is_parsed_at_once():
    async def serve():
        return await BodyParser().run(threading.get_ident, MAX_INLINE_BYTES, connected)

    assert asyncio.run(serve()) == threading.get_ident()


def test_large_bodies_are_parsed_one_after_the_other():
    running, most = 0, 0

    def parse():
        nonlocal running, most
        running += 1
        most = max(most, running)
        threading.Event().wait(0.01)
        running -= 1

    async def serve():
        parser = BodyParser()
        await asyncio.gather(*(parser.run(parse, LARGE, connected) for _ in range(5)))

    asyncio.run(serve())

    assert most == 1


def test_a_large_body_is_not_parsed_when_its_client_is_gone():
    parsed = []

    async def serve():
        await BodyParser().run(lambda: parsed.append(1), LARGE, lambda: True)

    with pytest.raises(ClientGoneError):
        asyncio.run(serve())
    assert not parsed


@pytest.mark.parametrize("is_valid", [True, False])
def test_lists_of_a_large_body_are_not_searched_for_garbage(is_valid):
    collections = []

    def parse():
        gc.callbacks.append(lambda phase, info: collections.append(phase))
        lists: list[list[int]] = [[] for _ in range(100_000)]
        if not is_valid:
            raise InvalidRequestError(f"{len(lists)} lists")

    async def serve():
        try:
            await BodyParser().run(parse, LARGE, connected)
        except InvalidRequestError:
            assert not is_valid

    try:
        asyncio.run(serve())
    finally:
        gc.callbacks.pop()
    # At most one before and one after, of what else has been created.
    assert collections.count("start") <= 2
    assert gc.isenabled()
