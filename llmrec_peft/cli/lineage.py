"""`llmrec lineage`: from which runs a run was updated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from llmrec_peft.cli import parameters
from llmrec_peft.cli.command import COMPARE, Command
from llmrec_peft.cli.output import Branch, print_json, print_line, print_tree


def lineage(run: parameters.Run, as_json: parameters.Json = False) -> None:
    """Draw the runs from which a run was updated, with what each learned and its figures.

    Runs in the same folder that come from the same first run are drawn as well. To roll back, use the run before.

    Examples:
      llmrec lineage runs/movies-seed1-u2
      llmrec lineage runs/movies-seed1-u2 --json
    """
    from llmrec_peft.workflows.lineage import lineage as lineage_of

    told = lineage_of(run)
    if as_json:
        print_json(told)
        return
    branches: dict[str, Branch] = {}
    for node in told["runs"]:
        branch = branches[node["digest"]] = Branch(_label(node, node["digest"] == told["run"]))
        if node["parent"] in branches:
            branches[node["parent"]].below.append(branch)
    print_tree(branches[told["lineage"][0]])
    before = (
        next((node for node in told["runs"] if node["digest"] == told["lineage"][-2]), None) if _updated(told) else None
    )
    if before is not None and before["folder"] is not None:
        print_line(f"roll back: use {before['folder']}")


def _updated(told: dict[str, Any]) -> bool:
    return len(told["lineage"]) > 1


def _label(node: dict[str, Any], asked: bool) -> str:
    """Say what a run is, in a line or three."""
    where = "" if node["folder"] is None else f"  {Path(node['folder']).name}"
    mark = "  <- this run" if asked else ""
    lines = [f"{node['digest'][:12]}{where}{mark}"]
    known = f"{node['users']} users, {node['items']} items, {node['learned']} interactions learned"
    if node["merged"] is not None:
        told = node["merged"]
        parts = [f"{weight:g} of {run[:12]}" for run, weight in zip(told["runs"], told["weights"], strict=False)]
        return "\n".join([*lines, f"{node['recipe']}: {known}", f"adapter merged ({told['how']}): {', '.join(parts)}"])
    if node["started"] is not None:
        runs = ", ".join(run[:12] for run in node["started"]["runs"])
        lines = [*lines, f"its adapter began with {'the mean of those of ' if ',' in runs else 'that of '}{runs}"]
    if node["newest"] is None:
        return "\n".join([*lines, f"{node['recipe']}: {known}"])
    lines.append(f"{known}: {node['new']} new, {node['replayed']} replayed in each of {node['epochs']} epochs")
    for name, what in (("newest", "newest"), ("old", "old")):
        one = node[name]
        if one is not None:
            figures = f"{node['metric']} {one['before']:.4f} -> {one['after']:.4f}"
            lines.append(
                f"{what} {one['examples']}: {figures} [{one['low']:+.4f}, {one['high']:+.4f}] {one['verdict']}"
            )
    return "\n".join([*lines, *(["kept by --force"] if node["forced"] else [])])


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lineage", cls=Command, rich_help_panel=COMPARE)(lineage)
