"""Entry of the ``dp3d`` command: parses arguments, runs the command, reports errors."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from dp3d_core.errors import Cancelled, Dp3dError, ExitCode
from server.cli.bench import Bench
from server.cli.console import Console, Outcome, unexpected_error
from server.cli.demo import Demo
from server.cli.doctor import Doctor
from server.cli.engines import Engines
from server.cli.evaluate import Evaluate
from server.cli.export import Export
from server.cli.fit import Fit
from server.cli.generate import Generate
from server.cli.head import Head
from server.cli.mesh import Mesh
from server.cli.models import Models
from server.cli.render import Render
from server.cli.serve import Serve
from server.cli.setup import Setup
from server.cli.synth import Synth
from server.cli.verify_parity import VerifyParity

_COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "generate": Generate,
    "fit": Fit,
    "mesh": Mesh,
    "head": Head,
    "export": Export,
    "render": Render,
    "serve": Serve,
    "setup": Setup,
    "doctor": Doctor,
    "engines": Engines,
    "synth": Synth,
    "bench": Bench,
    "evaluate": Evaluate,
    "models": Models,
    "verify-parity": VerifyParity,
}
"""Commands by name."""

DESCRIPTION = """A photo of a head and a camera path to 3D-consistent frames with exact poses, a
radiance field and a textured mesh.  Start with 'dp3d demo'; 'dp3d COMMAND --help' explains a
command, 'dp3d --version' names the version; exit codes and error codes are in docs/errors.md."""


def parse(arguments: Sequence[str]) -> Any:
    """Parse a command line; exits with code 2 and a hint when it is wrong."""
    name = arguments[0] if arguments else ""
    settings: Any = {"config": (tyro.conf.FlagCreatePairsOff, tyro.conf.CascadeSubcommandArgs)}
    if name in _COMMANDS:  # by itself, as errors then point to its own help
        return tyro.cli(_COMMANDS[name], prog=f"dp3d {name}", args=list(arguments[1:]), **settings)
    choices = tuple(
        Annotated[command, tyro.conf.subcommand(name)] for name, command in _COMMANDS.items()
    )
    any_command: Any = Union[choices]  # noqa: UP007 - built at run time
    return tyro.cli(
        any_command, prog="dp3d", description=DESCRIPTION, args=list(arguments), **settings
    )


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code of docs/errors.md."""
    if list(arguments) == ["--version"]:
        import importlib.metadata

        print(f"dp3d {importlib.metadata.version('dp3d')}")
        return ExitCode.OK
    command = parse(arguments)
    console = Console(command.json, command.debug)
    if not isinstance(command, Serve):  # uvicorn handles signals itself
        console.listen_for_signals()
    try:
        outcome: Outcome = command.run(console)
        if outcome.data:
            console.show(outcome)
        return outcome.exit_code
    except KeyboardInterrupt:
        error: Dp3dError = Cancelled("The command")
    except Dp3dError as coded:
        error = coded
    except Exception as defect:
        error = unexpected_error(defect)
        console.close()
        if console.debug:
            sys.excepthook(type(defect), defect, defect.__traceback__)
    finally:
        console.close()
    console.show_error(error)
    return error.exit_code


def main() -> None:
    """The ``dp3d`` console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # show characters that cannot be encoded as codes
            stream.reconfigure(errors="backslashreplace")
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = ExitCode.CANCELLED
    sys.exit(code)


if __name__ == "__main__":
    main()
