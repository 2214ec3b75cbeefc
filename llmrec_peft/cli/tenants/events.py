"""`llmrec tenants events`: what a tenant's users did, as a table for `llmrec update`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec_peft.cli import parameters, server
from llmrec_peft.cli.output import print_json, print_note
from llmrec_peft.errors import InputError


def events(
    name: server.Name,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE|-", help="CSV or Parquet file, by its ending; - for CSV on stdout."),
    ],
    after: Annotated[
        int, typer.Option("--after", metavar="N", min=0, help="Only events that follow this sequence number.")
    ] = 0,
    overwrite: parameters.Overwrite = False,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """Write a tenant's events as interactions, from which a run can learn.

    Columns are user_id, item_id, label and timestamp, in whole seconds since 1970. The sequence number of the last
    event is said on stderr; --after takes it the next time.

    Examples:
      llmrec tenants events films --out november.csv
      llmrec tenants events films --out december.parquet --after 120000
    """
    from llmrec_peft.workflows.server_events import write_events
    from llmrec_peft.workflows.streams import STREAM

    if as_json and out == STREAM:
        raise InputError("--json and --out - would both write to stdout: name a file")
    with server.client_of(url, key_file) as client:
        written = write_events(client.all_events(name, after), out, overwrite)
    if as_json:
        print_json({"events": written.events, "without_label": written.without_label, "last": written.last})
    where = "stdout" if out == STREAM else out
    print_note(f"{written.events} events in {where}; the last one is {after if written.last is None else written.last}")
    if written.without_label:
        print_note(f"{written.without_label} events have no label; a run that learns from labels does not take them")
