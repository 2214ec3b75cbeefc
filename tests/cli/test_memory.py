"""`llmrec memory` through the real command: exit codes, JSON, wrong inputs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_what_does_not_fit_exits_1_and_says_by_how_much(llmrec: Command, tiny_backbone: Path) -> None:
    given = ("memory", "movies", "--data", "demo", "--set", f"backbone.name={tiny_backbone}", "--json")
    small, large = llmrec(*given, "--gpu", "100MiB"), llmrec(*given, "--gpu", "12GB")
    assert (small.returncode, large.returncode) == (1, 0), small.stderr + large.stderr
    answer = json.loads(small.stdout)
    assert answer["spare"] == 100 * 2**20 - answer["total"] < 0
    assert answer["total"] == sum(answer["parts"].values())
    assert json.loads(large.stdout)["fits"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "twelve"), "--gpu"),
        (("--data", "demo", "--users", "5"), "--users"),
        (("--set", "backbone.name=./nowhere"), "backbone.name"),
    ],
)
def test_wrong_input_exits_2_with_one_line(llmrec: Command, arguments: tuple[str, ...], said: str) -> None:
    done = llmrec("memory", "movies", *arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_old_name_still_works_and_says_the_new_one_on_stderr(llmrec: Command, tiny_backbone: Path) -> None:
    given = ("movies", "--data", "demo", "--set", f"backbone.name={tiny_backbone}", "--gpu", "12GB", "--json")
    old, new = llmrec("fit", *given), llmrec("memory", *given)
    assert (old.returncode, old.stdout) == (new.returncode, new.stdout)
    assert "llmrec fit is now llmrec memory" in old.stderr
    assert new.stderr == ""
    assert " fit " not in llmrec("--help").stdout


def test_tenants_are_counted_by_tier_and_exit_1_says_that_they_do_not_fit(llmrec: Command, tiny_backbone: Path) -> None:
    given = ("memory", "movies", "--set", f"backbone.name={tiny_backbone}", "--users", "50", "--items", "200")
    small, large = llmrec(*given, "--tenants", "5000", "--ram", "500MiB", "--json"), llmrec(*given, "--tenants", "3")
    assert (small.returncode, large.returncode) == (1, 0), small.stderr + large.stderr
    answer = json.loads(small.stdout)
    assert answer["tenants"] == 5000
    assert answer["tiers"]["disk"]["total"] == 5000 * answer["per_tenant"]["disk"]
    assert answer["most"]["host"] < 5000
    assert "3 tenants fit in memory" in large.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tenants", "5"), "--tenants takes a recipe or --run"),
        (("movies", "--run", "runs/a"), "--run is for --tenants"),
        (("movies", "--ram", "4GB"), "--ram is for --tenants"),
        (("--tenants", "5", "--run", "nowhere"), "no run folder nowhere"),
        (("--tenants", "5", "--run", "nowhere", "--items", "5"), "--run says what its tenants are"),
        ((), "name a recipe"),
    ],
)
def test_wrong_questions_about_tenants_exit_2_with_one_line(
    llmrec: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = llmrec("memory", *arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
