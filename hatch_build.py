"""Compiles the part of the server that is written in C; where that cannot be done, the server does without it."""

import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "serving/protocol/_pixels.c"
# Of Python's stable interface: every version from 3.11 on loads it.
LIBRARY = "serving/protocol/_pixels.abi3.so"
PYTHONS = "cp311-abi3"


class CompileHook(BuildHookInterface):
    """Runs the compiler that Python itself was built with."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        compiled = Path(self._folder.name, "compiled.so")
        try:
            self._compile(compiled)
            if version == "editable":
                self._put_in_place(compiled)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or str(error)
            self.app.display_warning(f"{SOURCE} could not be compiled, so the server is installed without it: {reason}")
            return
        if version != "editable":
            build_data["force_include"][str(compiled)] = LIBRARY
        build_data["pure_python"] = False
        build_data["tag"] = f"{PYTHONS}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def finalize(self, *_: Any) -> None:
        self._folder.cleanup()

    def _compile(self, library: Path) -> None:
        compiler = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
        options = ["-O3", "-fPIC", f"-I{sysconfig.get_path('include')}", "-o", library]
        subprocess.run([*compiler, Path(self.root, SOURCE), *options], check=True, capture_output=True, text=True)

    def _put_in_place(self, compiled: Path) -> None:
        # In one step, because servers may start from this folder meanwhile.
        beside = Path(self.root, f"{LIBRARY}.{os.getpid()}.so")
        shutil.copy(compiled, beside)
        beside.replace(Path(self.root, LIBRARY))
