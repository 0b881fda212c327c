"""Compiles the part of the server that is written in C; where that cannot be done, the server does without it."""

import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("serving/_pixels.c")
# Of Python's stable interface, so that every version loads it.
LIBRARY = SOURCE.with_suffix(".abi3.so")


class CompileHook(BuildHookInterface):
    """Runs the compiler that Python itself was built with."""

    def initialize(self, _: str, build_data: dict[str, Any]) -> None:
        library = Path(self.root, LIBRARY)
        unfinished = library.with_name("unfinished.so")
        compiler = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
        options = ["-O3", "-fPIC", f"-I{sysconfig.get_path('include')}", "-o", unfinished]
        try:
            subprocess.run([*compiler, Path(self.root, SOURCE), *options], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"the server will do without {SOURCE}, which could not be compiled: {error}")
            return
        # At once, because servers may start from this folder meanwhile.
        unfinished.replace(library)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(str(LIBRARY))
