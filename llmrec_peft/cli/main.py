"""Run `llmrec`: its commands, and errors as one line with exit code 2."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import traceback
from typing import Annotated

import typer

from llmrec_peft import __version__
from llmrec_peft.backbone.remote_code import allowing
from llmrec_peft.cli import (
    audit_answer,
    bench,
    compare,
    convert,
    describe,
    doctor,
    download,
    encode,
    evaluate,
    explain,
    export,
    export_vectors,
    init,
    lineage,
    list_plugins,
    loadtest,
    memory,
    merge,
    parity,
    predict,
    pull,
    push,
    recommend,
    report,
    serve,
    show,
    sign,
    tenants,
    train,
    train_tenants,
    tune,
    update,
    validate,
    verify,
    watch,
)
from llmrec_peft.cli.command import Commands
from llmrec_peft.cli.output import print_line
from llmrec_peft.errors import InputError, InterruptedTrainingError, disk_is_full
from llmrec_peft.printable import say, write_text

_INTERRUPTED = 130
"""Exit code after Ctrl-C."""
_CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""Base of usage errors, whether typer carries its own copy of click or uses the installed one."""

_TRUST = "--trust-remote-code"

app = typer.Typer(
    name="llmrec",
    cls=Commands,
    help="Tune small modules inside a frozen language model into a recommender.",
    epilog="Start here: llmrec train movies --data demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    train,
    train_tenants,
    update,
    merge,
    watch,
    tune,
    memory,
    recommend,
    predict,
    explain,
    export,
    export_vectors,
    encode,
    report,
    serve,
    tenants,
    loadtest,
    audit_answer,
    push,
    pull,
    sign,
    verify,
    evaluate,
    compare,
    lineage,
    convert,
    parity,
    bench,
    init,
    validate,
    download,
    list_plugins,
    show,
    describe,
    doctor,
):
    command.register(app)


def _version(asked: bool) -> None:
    if asked:
        print_line(f"llmrec-peft {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error; may also stand after the command.")
    ] = False,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            _TRUST,
            help="Let Python code that comes with a base model run, where a recipe asks for it; may also stand after"
            " the command. Read that code first.",
        ),
    ] = False,
) -> None:
    """Take the options that stand before the command."""


def main(arguments: list[str] | None = None) -> None:
    """Run `llmrec` and exit: 0 done, 1 something is wrong here, 2 wrong input, 130 interrupted.

    ``--debug`` and ``--trust-remote-code`` may stand anywhere, since people add them to the command that just failed.
    """
    # Threads that wait by spinning starve each other on shared virtual cores: a LoRA epoch took 30 s with two
    # of them, 9 s when they sleep. Read by OpenMP when torch is imported, so it stands here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # libraries print there too, in whatever encoding the shell has
            stream.reconfigure(errors="backslashreplace")
    rest = [argument for argument in given if argument not in ("--debug", _TRUST)]
    with allowing(_TRUST in given):
        sys.exit(_run(rest, debug="--debug" in given))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(args=arguments or ["--help"], prog_name="llmrec", standalone_mode=False)
        sys.stdout.flush()  # here a closed pipe can still be answered
    except InputError as error:
        return _fail(str(error), debug)
    except _CLICK_ERROR as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "llmrec"
        return _fail(f"{error.format_message()} (see {command} --help)", debug)  # type: ignore[attr-defined]
    except InterruptedTrainingError as interruption:
        say(f"interrupted: {interruption}")
        return _INTERRUPTED
    except (typer.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except BrokenPipeError:  # the reader has enough, as `head` does
        _forget_output()
        return 0
    except OSError as error:
        message = _about_the_disk(error)
        if message is None:
            raise
        return _fail(message, debug)
    if code == _INTERRUPTED:  # typer makes this of Ctrl-C by itself, without a word
        say("interrupted")
    return code if isinstance(code, int) else 0


def _forget_output() -> None:
    """Lead what is still to be written into nothing, so that Python does not complain when it flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


def _about_the_disk(error: OSError) -> str | None:
    """Return what to say of a full or write-protected disk; None for other errors, which are defects of ours."""
    where = error.filename or "the disk"
    if disk_is_full(error):
        return f"{where}: no room on the disk"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{where}: {error.strerror}"
    return None


def _fail(message: str, debug: bool) -> int:
    if debug:
        write_text(traceback.format_exc(), sys.stderr)
    say(f"error: {message}")
    return 2


if __name__ == "__main__":
    main()
