"""The command line: arguments in, text or JSON out.

Exit codes: 0 done, 1 failed while running, 2 refused before anything was
written, 3 check found faults, 4 interrupted (run again with --resume).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from chunkscale.cli.arguments import make_parser
from chunkscale.cli.commands import FAILED, INTERRUPTED, REFUSED
from chunkscale.cli.parsing import parse
from chunkscale.cli.screen import open_streams, plain_warnings, tolerant_output
from chunkscale.errors import (
    ChunkscaleError,
    ClusterError,
    CorruptChunkError,
    DestinationError,
    OptionError,
    RegionError,
)
from chunkscale.text import as_typed, escaped, fitted


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default: those of the process.
    """
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with tolerant_output() as lost, as_typed(), fitted(columns):
        code = _main(argv)
    return code or (FAILED if lost else code)


def _main(argv: Sequence[str] | None) -> int:
    arguments = parse(make_parser(), argv)
    try:
        with plain_warnings():
            code: int = arguments.run(arguments)
            return code
    except BrokenPipeError:
        return FAILED  # the reader of a pipe (head, say) has left; there is no one to tell
    except KeyboardInterrupt:
        from chunkscale.api.packing import left_by_interrupt

        begun = arguments.verb == "resample" and arguments.writing
        rest = left_by_interrupt(arguments.destination) if begun else ""
        message, code = f"interrupted{rest}", INTERRUPTED
    except (ChunkscaleError, OSError) as error:
        message = escaped(str(error))
        code = REFUSED if _is_refusal(error, arguments.writing) else FAILED
        if arguments.debug:
            raise
    print(f"chunkscale: error: {message}", file=sys.stderr)
    return code


def _is_refusal(error: Exception, writing: bool) -> bool:
    """Whether nothing was written when this was raised; `writing` from when it could be."""
    if isinstance(error, DestinationError | OptionError):
        return True  # what looks at the output and the options comes before the first write
    if isinstance(error, RegionError | CorruptChunkError | ClusterError):
        return False
    return isinstance(error, ChunkscaleError) and not writing


def console() -> NoReturn:
    """Run the command line as this process."""
    open_streams()
    code = main()
    try:
        sys.stdout.flush()
    except OSError:  # its reader has left, or the disk is full
        code = code or FAILED
        # Python would try again when it exits, and return another code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
