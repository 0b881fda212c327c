"""Converter of images: limits of its queue, order, cancellation, and errors of conversions."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from serving.errors import ClientGoneError, DeadlineError, InvalidRequestError, OverloadedError
from serving.images.converter import ImageConverter


class Conversions(Iterator[str]):
    """Conversions of two images, which do not end before `finish` is set."""

    def __init__(self) -> None:
        self.started = 0
        self.finish = threading.Event()

    def __next__(self) -> str:
        if self.started == 2:
            raise StopIteration
        self.started += 1
        self.finish.wait()
        return f"image {self.started}"


async def begin(converter: ImageConverter, conversions: Conversions, is_cancelled=lambda: False):
    """Start a conversion and wait until it runs."""
    task = asyncio.create_task(converter.convert(conversions, 2, is_cancelled))
    while not conversions.started:
        await asyncio.sleep(0.001)
    return task


def test_requests_wait_for_a_thread_and_get_their_images_in_order():
    async def scenario():
        converter, first, second = ImageConverter(1, 8, 600), Conversions(), Conversions()
        running = await begin(converter, first)
        waiting = asyncio.create_task(converter.convert(second, 2, lambda: False))
        await asyncio.sleep(0.01)
        assert (converter.waiting, second.started) == (2, 0)
        for conversions in (first, second):
            conversions.finish.set()
        assert await asyncio.gather(running, waiting) == [["image 1", "image 2"]] * 2
        assert converter.waiting == 0

    asyncio.run(scenario())


def test_a_full_queue_refuses_images_and_recovers():
    async def scenario():
        converter, first = ImageConverter(1, 8, 600), Conversions()
        running = await begin(converter, first)
        waiting = asyncio.create_task(converter.convert(iter("a"), 100, lambda: False))  # into an empty queue
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError):
            await converter.convert(iter("b"), 1, lambda: False)
        first.finish.set()
        await asyncio.gather(running, waiting)
        assert await converter.convert(iter("c"), 1, lambda: False) == ["c"]

    asyncio.run(scenario())


def test_images_that_wait_too_long_get_an_error_while_the_thread_is_busy():
    async def scenario():
        converter, first, second = ImageConverter(1, 8, 0.01), Conversions(), Conversions()
        running = await begin(converter, first)
        with pytest.raises(DeadlineError):
            await converter.convert(second, 2, lambda: False)
        assert (converter.waiting, second.started) == (0, 0)
        first.finish.set()
        assert await running == ["image 1", "image 2"]
        assert await converter.convert(iter("c"), 1, lambda: False) == ["c"]

    asyncio.run(scenario())


def test_nothing_is_converted_for_a_client_that_has_gone():
    gone = threading.Event()

    async def scenario():
        converter, first, second = ImageConverter(1, 8, 600), Conversions(), Conversions()
        running = await begin(converter, first, gone.is_set)
        waiting = asyncio.create_task(converter.convert(second, 2, gone.is_set))
        await asyncio.sleep(0.01)
        gone.set()
        first.finish.set()
        for request in (running, waiting):
            with pytest.raises(ClientGoneError):
                await request
        assert (first.started, second.started) == (1, 0)

    asyncio.run(scenario())


def test_an_invalid_image_frees_its_thread():
    def invalid() -> Iterator[str]:
        raise InvalidRequestError("damaged")
        yield

    async def scenario():
        converter = ImageConverter(1, 8, 600)
        with pytest.raises(InvalidRequestError, match="damaged"):
            await converter.convert(invalid(), 1, lambda: False)
        assert await converter.convert(iter("c"), 1, lambda: False) == ["c"]

    asyncio.run(scenario())
