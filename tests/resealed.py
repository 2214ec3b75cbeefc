"""Runs whose manifest is true again after something in them was changed, as their author could make it."""

from __future__ import annotations

import json
from pathlib import Path

from llmrec_peft.artifact.manifest import make_manifest, write_json


def resealed(run: Path, **base: str | None) -> Path:
    """Make a run's manifest true of what lies in the folder, and let it name another base."""
    recorded = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["base"]
    write_json(run / "manifest.json", make_manifest(run, {**recorded, **base}, "0").model_dump(mode="json"))
    return run
