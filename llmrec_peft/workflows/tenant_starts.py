"""Starts of tenants: the finished runs with whose adapters a new tenant's adapter begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmrec_peft.artifact.lineage import FILE as LINEAGE
from llmrec_peft.artifact.lineage import LINEAGE_BYTES, parse_lineage
from llmrec_peft.artifact.manifest import NAME as MANIFEST
from llmrec_peft.artifact.sealed import SealedFolder
from llmrec_peft.errors import InputError
from llmrec_peft.experiment.starting import AskedStart
from llmrec_peft.printable import shown
from llmrec_peft.regular_files import is_file
from llmrec_peft.run.language_model import FILES
from llmrec_peft.workflows.tenants import Tenant

MEAN, NEAREST = "mean", "nearest"
"""What is said in place of run folders: all other tenants' runs, or the one whose items' texts are nearest."""


def starting(tenants: Sequence[Tenant], asked: Sequence[str], out: Path) -> list[Tenant]:
    """Return tenants whose adapters begin with those of finished runs.

    Args:
        tenants: The tenants.
        asked: `MEAN` or `NEAREST` of the other tenants' finished runs in `out`, or run folders, of several of which the
            mean is taken; nothing for fresh adapters.
        out: Folder of the tenants' runs.

    Raises:
        InputError: If `out` has no run to begin with, or a word stands beside something else.
    """
    if not asked:
        return list(tenants)
    word = next((one for one in asked if one in (MEAN, NEAREST)), None)
    if word is None:
        start = AskedStart(tuple(Path(one) for one in asked))
        return [replace(one, start_from=start) for one in tenants]
    if len(asked) > 1:
        raise InputError(f"--start-from {word} takes the runs in {shown(out)} and stands alone; or name runs")
    runs = _fresh_runs(out)
    found = []
    for tenant in tenants:
        others = tuple(run for run in runs if run.name != tenant.name)
        if not others:
            raise InputError(f"--start-from {word}: {shown(out)} has no other tenant's finished run with an adapter")
        found.append(replace(tenant, start_from=AskedStart(others, 1 if word == NEAREST else None)))
    return found


def _fresh_runs(out: Path) -> list[Path]:
    """Return the finished runs of a folder that have an adapter which began fresh, by name.

    Those that themselves began with others are left out: so an interrupted job goes on from the same runs.
    """
    if not out.is_dir():
        return []
    folders = sorted(folder for folder in out.iterdir() if is_file(folder / MANIFEST) and not folder.is_symlink())
    return [folder for folder in folders if _is_fresh(SealedFolder.open(folder))]


def _is_fresh(sealed: SealedFolder) -> bool:
    if any(name not in sealed.manifest.files for name in FILES):
        return False
    if LINEAGE not in sealed.manifest.reports:
        return True
    lineage = parse_lineage(sealed.content(LINEAGE, LINEAGE_BYTES), sealed.folder / LINEAGE)
    return all(step.started is None and step.merged is None for step in lineage.steps)
