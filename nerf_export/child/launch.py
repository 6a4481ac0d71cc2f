"""Entry of the child process: ``python launch.py COMMAND REQUEST.json``.

The NeRF interpreter runs this file as a script and has neither ``dp3d_core`` nor ``nerf_export``
installed.  The script imports these two from the host's folders and hides the host's other
packages.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nerf_export.child.parent_channel import ParentChannel

_ROOT = Path(__file__).resolve().parents[2]
"""Folder that contains ``nerf_export``."""
_STOPPED = 3
"""Exit code after the parent closed the child's stdin."""


def borrow_package(name: str, folder: Path) -> None:
    """Make one package importable from its folder, without touching ``sys.path``."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package {name} in {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _watch_parent(parent: ParentChannel) -> None:
    """End the process when stdin closes, as it does when the parent cancels or dies."""
    # os.read, since a thread blocked in sys.stdin can abort the interpreter's shutdown
    while os.read(0, 1):
        pass
    parent.stop.set()
    if not parent.has_to_save:
        os._exit(_STOPPED)


def main(arguments: list[str]) -> int:
    """Run a command.  Returns 0 on success, 1 on failure (with an error event for known errors)."""
    # Events go to the original stdout; what nerfstudio prints goes to stderr, the log.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    if sys.path and Path(sys.path[0] or ".").resolve() == Path(__file__).resolve().parent:
        del sys.path[0]
    # dp3d_core may lie elsewhere than nerf_export when only one of them is installed editable.
    core = Path(os.environ.get("DP3D_CORE_FOLDER") or _ROOT / "dp3d_core")
    borrow_package("dp3d_core", core)
    borrow_package("nerf_export", _ROOT / "nerf_export")

    from dp3d_core.errors import Dp3dError
    from nerf_export.child.parent_channel import ParentChannel

    parent = ParentChannel(events)
    if arguments[0] != "check":
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    try:
        request = json.loads(Path(arguments[1]).read_text("utf-8")) if len(arguments) > 1 else {}
        from nerf_export.child import compat

        compat.apply()
        from nerf_export.child.commands import COMMANDS

        parent.result(COMMANDS[arguments[0]](request, parent))
    except Dp3dError as error:
        parent.error(error.to_dict())
        return 1
    except Exception as error:
        traceback.print_exc()
        from nerf_export.child.memory import is_out_of_memory

        if is_out_of_memory(error):
            parent.error(
                Dp3dError(
                    "nerf.too_little_memory",
                    "Memory ran out in the NeRF process.",
                    "Take a smaller preset or fewer views, or close other programs; a fit goes on "
                    "from its last checkpoint.",
                    str(error),
                ).to_dict()
            )
        return 1
    return 0


# nerfstudio may spawn workers that import this file; they must not run the command again.
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
