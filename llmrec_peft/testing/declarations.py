"""Declarations: what a head or a signal declares before anything is built."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from llmrec_peft.evaluation.measures import LOWER_IS_BETTER, measure_of
from llmrec_peft.options import Options, describe
from llmrec_peft.testing.outcome import Outcome

TASKS = ("rating", "click", "ranking")
"""Tasks whose heads score."""
_HEAVY = ("torch", "transformers", "peft")
_LOOK = "import importlib, json, sys; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"


def imports_no_torch(plugin: type[Any]) -> Outcome:
    """Check that importing its module, in a process of its own, imports neither torch, transformers nor peft."""
    heavy, trouble = _heavy(plugin.__module__, getattr(sys.modules.get(plugin.__module__), "__file__", None))
    if trouble:
        return Outcome(False, note=f"cannot be imported by itself: {trouble}")
    return Outcome(not heavy, note=f"importing {plugin.__module__} imports {heavy[0]}" if heavy else "")


@functools.cache
def _heavy(module: str, file: str | None) -> tuple[list[str], str]:
    """Return the libraries that a module imports but should not, and what went wrong; once per module and file."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(  # noqa: S603 - this interpreter, on a module that this process has imported already
        [sys.executable, "-c", _LOOK, module],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        return [], (done.stderr.strip().splitlines() or ["-"])[-1][:200]
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    return [name for name in _HEAVY if name in loaded], ""


def options_are_documented(plugin: type[Any]) -> Outcome:
    """Check that every option has a docstring and a default, and that an unknown field is rejected."""
    config = getattr(plugin, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Options)):
        return Outcome(False, note="Config is no llmrec_peft.options.Options")
    rows = describe(config)
    bare = [row["name"] for row in rows if not row["description"]]
    required = [row["name"] for row in rows if row["required"]]
    if bare:
        return Outcome(False, len(bare), 0, f"option {bare[0]} has no docstring under it")
    if required:
        return Outcome(False, len(required), 0, f"option {required[0]} has no default")
    try:
        config.model_validate({"no_such_option": 1})
    except ValidationError:
        return Outcome(True, len(rows))
    return Outcome(False, note="accepts an unknown option")


def says_what_it_is(plugin: type[Any]) -> Outcome:
    """Check that `summary` is one line, and that the class has a docstring."""
    summary = getattr(plugin, "summary", None)
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        return Outcome(False, note="summary is not one line")
    return Outcome(bool((plugin.__doc__ or "").strip()), note="" if plugin.__doc__ else "the class has no docstring")


def metric_is_known(head: type[Any]) -> Outcome:
    """Check that `task` is known, `metric` is one of its metrics, and `lower_is_better` is the metric's direction."""
    import numpy as np

    task, metric = getattr(head, "task", None), getattr(head, "metric", None)
    if task not in TASKS:
        return Outcome(False, note=f"task {task!r} is none of {', '.join(TASKS)}")
    known = measure_of(task, lambda label: label, np.zeros(1, np.int64)).metrics
    if metric not in known:
        return Outcome(False, note=f"metric {metric!r} is none of {', '.join(known)}")
    lower = metric in LOWER_IS_BETTER
    right = getattr(head, "lower_is_better", None) is lower
    return Outcome(right, note="" if right else f"{metric} is better when {'lower' if lower else 'higher'}")


Checks = dict[str, Callable[[type[Any]], Outcome]]
DECLARED: Checks = {check.__name__: check for check in (imports_no_torch, options_are_documented, says_what_it_is)}
HEAD_DECLARED: Checks = {metric_is_known.__name__: metric_is_known}
