"""Converter of image files: a queue with limits, in front of threads that run nothing else."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.errors import ClientGoneError, DeadlineError, OverloadedError

Result = TypeVar("Result")


class ImageConverter:
    """Runs conversions on threads of its own, so that batches of models do not wait for images.

    Used on the event loop only.

    Args:
        threads: requests whose images are converted at once.
        queue_images: images that may wait; an empty queue accepts a request with any number of them.
        queue_seconds: how long a request may wait.

    Attributes:
        waiting: number of images that wait.
    """

    def __init__(self, threads: int, queue_images: int, queue_seconds: float) -> None:
        self.waiting = 0
        self._queue_images = queue_images
        self._queue_seconds = queue_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="images")
        self._free_threads = asyncio.Semaphore(threads)

    async def convert(
        self, conversions: Iterator[Result], images: int, is_cancelled: Callable[[], bool]
    ) -> list[Result]:
        """Return the items of `conversions`, in order.

        Args:
            conversions: of the images of one request; converts an image when asked for the next item.
            images: number of image files.
            is_cancelled: called before each conversion, also on other threads; True drops the rest.

        Raises:
            OverloadedError: too many images wait.
            DeadlineError: no thread became free in time.
            ClientGoneError: `is_cancelled` returned True.
        """
        await self._wait_for_thread(images)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, _convert, conversions, is_cancelled)
            return await running
        finally:
            self._free_threads.release()

    async def _wait_for_thread(self, images: int) -> None:
        if self.waiting and self.waiting + images > self._queue_images:
            raise OverloadedError("too many images are waiting, try again later")
        self.waiting += images
        try:
            async with asyncio.timeout(self._queue_seconds):
                await self._free_threads.acquire()
        except TimeoutError:
            raise DeadlineError("the images waited too long in the queue") from None
        finally:
            self.waiting -= images


def _convert(conversions: Iterator[Result], is_cancelled: Callable[[], bool]) -> list[Result]:
    results: list[Result] = []
    while not is_cancelled():
        try:
            results.append(next(conversions))
        except StopIteration:
            return results
    raise ClientGoneError("the client went away")
