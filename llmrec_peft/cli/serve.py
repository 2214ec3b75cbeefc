"""`llmrec serve`: many tenants' runs on one base over HTTP."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli.command import SERVE, Command
from llmrec_peft.cli.output import print_note
from llmrec_peft.errors import InputError
from llmrec_peft.printable import quoted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "limits", "pydantic_settings")


def serve(
    tenants: Annotated[
        list[str] | None,
        typer.Option("--tenant", metavar="NAME=RUN", help="A run folder and whose users it answers; may be repeated."),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="Port; 0 for a free one.", show_default="8765")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="Folder of the registry, the sealed runs and the first admin key.",
            show_default="serve-state",
        ),
    ] = None,
    roots: Annotated[
        list[Path] | None,
        typer.Option(
            "--root", metavar="DIR", help="Folder below which runs may be registered over HTTP; may be repeated."
        ),
    ] = None,
    host_bytes: Annotated[
        int | None,
        typer.Option("--host-bytes", metavar="N", help="Bytes that loaded versions may take.", show_default="no bound"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="NAME", help="Where to compute.", show_default="cuda if there is one, or cpu"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="YAML file with settings; docs/server.md lists them."),
    ] = None,
) -> None:
    """Serve many tenants' runs on one base over HTTP, with keys, quotas and a page at /.

    Tenants, added items, keys and events are kept in --state and are there after a restart. A first admin key is
    written to admin.key there, for its owner alone. LLMREC_SERVE_PORT and the like in the environment set what is not
    given here. SIGTERM lets running requests end.

    Examples:
      llmrec serve --tenant films=runs/movies --tenant shop=runs/ecommerce
      llmrec serve --config serve.yaml --root /srv/runs
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"llmrec serve needs {missing[0]}: pip install 'llmrec-peft[serving]'")
    runs = _runs(tenants or [])

    from llmrec_peft.backbone.remote_code import is_allowed
    from llmrec_peft.serving.http.server import serve as serve_until_stopped
    from llmrec_peft.serving.http.settings import settings_of

    settings = settings_of(
        config,
        host=host,
        port=port,
        state=state,
        roots=tuple(roots) if roots else None,
        host_bytes=host_bytes,
        device=device,
        trust_remote_code=True if is_allowed() else None,
    )
    serve_until_stopped(settings, runs, print_note)


def _runs(tenants: list[str]) -> dict[str, Path]:
    """Return the folders of runs by the names of their tenants; runs of the Hub are fetched."""
    from llmrec_peft.artifact.fetched import run_folder

    runs: dict[str, Path] = {}
    for text in tenants:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise InputError(f"--tenant {quoted(text)}: write NAME=RUN, such as films=runs/movies")
        if not _NAME.fullmatch(name):
            raise InputError(
                f"--tenant {quoted(name)}: a name has up to 64 letters, digits, dots, hyphens and underscores"
            )
        if name in runs:
            raise InputError(f"--tenant {quoted(name)} is given twice")
        run = run_folder(folder)
        if not (run / "manifest.json").is_file():
            raise InputError(f"--tenant {quoted(text)}: there is no run folder")
        runs[name] = run
    return runs


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", cls=Command, rich_help_panel=SERVE)(serve)
