"""Validation of versions in processes of their own, so that one which crashes or hangs does not stop the server."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

from serving.engine.validation_process import REFUSED, ValidationLimits
from serving.errors import ModelRefusedError

# Each process takes a core, and memory for a copy of the model.
MAX_PROCESSES = 4


class Validator:
    """Validates versions of a repository.

    The first process starts with the validator, so that it imports its packages while the server imports its own.

    Args:
        folder: of the repository.
        limits: of each version.
        public_key: file with the key that versions have to be signed with; empty accepts unsigned ones.
    """

    def __init__(self, folder: Path, limits: ValidationLimits, public_key: str = "") -> None:
        self._command = [
            sys.executable,
            "-m",
            "serving.engine.validation_process",
            str(os.getpid()),
            str(folder.absolute()),
            str(Path(public_key).absolute()) if public_key else "",
            *map(str, astuple(limits)),
        ]
        self._seconds = limits.seconds
        self._slots = asyncio.Semaphore(MAX_PROCESSES)
        self._threads = ThreadPoolExecutor(MAX_PROCESSES, thread_name_prefix="validation")
        self._prepared: list[subprocess.Popen[str]] = [self._start()]

    async def validate(self, name: str, version: int) -> None:
        """Load, check and warm up a version in another process, which takes some tenths of a second.

        Cancelling the coroutine ends the process.

        Raises:
            ModelRefusedError: the version is not fit to serve, crashes, or takes too much time or memory.
        """
        async with self._slots:
            process = self._prepared.pop() if self._prepared else self._start()
            running = asyncio.get_running_loop().run_in_executor(self._threads, self._try, process, name, version)
            try:
                await running
            finally:
                process.kill()

    def _try(self, process: subprocess.Popen[str], name: str, version: int) -> None:
        try:
            output, _ = process.communicate(f"{name} {version}\n", self._seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise ModelRefusedError(f"loading it takes more than {self._seconds:g} seconds") from None
        if process.returncode == REFUSED:
            raise ModelRefusedError(output.strip())
        if process.returncode != 0:
            raise ModelRefusedError(f"the process that loads it exits with status {process.returncode}")

    def _start(self) -> subprocess.Popen[str]:
        # Called in the main thread: Linux ends the process with the thread that started it.
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
