"""Registry: one door for every plugin, and what `llmrec list` and `llmrec show` say of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from llmrec_peft import __version__, registry
from llmrec_peft.errors import InputError

Command = Callable[..., subprocess.CompletedProcess[str]]
FIRST_PARTY = {
    "adapters": set(
        "adalora bitfit bottleneck dora full ia3 layernorm loha lokr lora none oft prefix prompt vera".split()
    ),
    "heads": {"rating"},
    "signals": {"text", "collaborative", "graph"},
    "readers": {"movies", "ecommerce", "tallrec-book", "tallrec-movie"},
    "recipes": {"movies", "movies-smollm2", "movies-7b", "ecommerce", "tallrec-book", "tallrec-movie"},
    "backbones": {"minilm", "smollm2"},
}
HEAVY = {"torch", "peft", "transformers", "datasets", "accelerate", "pandas"}


def distribution(folder: Path, name: str, entry_points: str, **modules: str) -> Path:
    """An installed package, as pip would leave it."""
    info = folder / f"{name.replace('-', '_')}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", FIRST_PARTY)
def test_first_party_plugins_use_the_same_door(kind: str) -> None:
    assert set(registry.plugins(kind)) >= FIRST_PARTY[kind]
    for plugin in registry.plugins(kind).values():
        assert plugin.load().is_file() if kind == "recipes" else plugin.load().summary
    assert registry.plugins(kind)[min(FIRST_PARTY[kind])].package == f"llmrec-peft {__version__}"


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("adapters", "lroa", r"unknown adapter method 'lroa': did you mean 'lora'\? Known: .*lora, miss, none"),
        ("heads", "ratings", r"unknown task head 'ratings': did you mean 'rating'\?"),
        ("signals", "txt", r"unknown signal 'txt': did you mean 'text'\?"),
        ("readers", "movie", r"unknown reader 'movie': did you mean 'movies'\?"),
        ("recipes", "movies-smollm", r"unknown recipe 'movies-smollm': did you mean 'movies-smollm2'\?"),
        ("recipes", "amazon-reviews", r"unknown recipe 'amazon-reviews': it is called 'ecommerce' now$"),
        ("readers", "amazon-reviews", r"unknown reader 'amazon-reviews': it is called 'ecommerce' now$"),
        ("heads", "amazon-reviews", r"unknown task head 'amazon-reviews': Known: "),
        ("backbones", "mini-lm", r"unknown backbone alias 'mini-lm': did you mean 'minilm'\?"),
        ("adapters", "zzz", r"unknown adapter method 'zzz': Known: "),
        ("adaptors", "lora", r"unknown kind 'adaptors': did you mean 'adapters'\?"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest_known_one(kind: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.get(kind, name)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages of strangers: one with a good plugin and several broken ones, both claiming a name."""
    folder = tmp_path_factory.mktemp("site")
    distribution(
        folder,
        "stranger-one",
        "[llmrec_peft.adapters]\n"
        "good = stranger_good:Method\n"
        "raises = stranger_raises:Method\n"
        "exits = stranger_exits:Method\n"
        "absent = stranger_absent:Method\n"
        "lacks = stranger_good:Other\n"
        "claimed = stranger_good:Method\n",
        stranger_good="class Method:\n    summary = 'a stranger that works'\n",
        stranger_raises="raise RuntimeError('no such\\nlibrary')\n",
        stranger_exits="raise SystemExit(3)\n",
    )
    distribution(
        folder,
        "stranger-two",
        "[llmrec_peft.adapters]\nclaimed = stranger_two:Method\n[llmrec_peft.signals]\nother = stranger_two:Method\n",
        stranger_two="class Method:\n    summary = 'another'\n",
    )
    return folder


@pytest.fixture(scope="module")
def listed(llmrec: Command, strangers: Path) -> dict[tuple[str, str], dict[str, str | None]]:
    """What the real command lists beside the strangers."""
    done = llmrec("list", "--json", PYTHONPATH=str(strangers))
    assert done.returncode == 0, done.stderr
    return {(row["kind"], row["name"]): row for row in json.loads(done.stdout)}


def test_broken_plugins_are_reported_by_name_and_package(
    listed: dict[tuple[str, str], dict[str, str | None]],
) -> None:
    causes = {
        "raises": "RuntimeError: no such",
        "exits": "SystemExit: 3",
        "absent": "ModuleNotFoundError: No module named 'stranger_absent'",
        "lacks": "AttributeError: ",
    }
    for name, cause in causes.items():
        error = listed["adapters", name]["error"]
        assert error is not None
        assert f"adapter method {name!r} of package stranger-one 1.2 cannot be imported ({cause}" in error
        assert "\n" not in error


def test_broken_plugins_take_no_other_down(listed: dict[tuple[str, str], dict[str, str | None]]) -> None:
    assert listed["adapters", "good"] == {
        "kind": "adapters",
        "name": "good",
        "package": "stranger-one 1.2",
        "summary": "a stranger that works",
        "error": None,
    }
    for kind, names in FIRST_PARTY.items():
        for name in names:
            assert listed[kind, name]["error"] is None


def test_a_name_that_two_packages_claim_is_refused_naming_both(
    listed: dict[tuple[str, str], dict[str, str | None]],
) -> None:
    error = listed["adapters", "claimed"]["error"]
    assert error is not None
    assert "'claimed' is registered by both stranger-one 1.2 and stranger-two 1.2: uninstall one" in error
    assert listed["signals", "other"]["error"] is None


def test_a_recipe_that_asks_for_a_broken_plugin_is_refused_in_one_line(llmrec: Command, strangers: Path) -> None:
    done = llmrec("validate", "movies", "--set", "adapter.method=raises", PYTHONPATH=str(strangers))
    assert done.returncode == 2
    assert done.stderr.startswith("error: adapter method 'raises' of package stranger-one 1.2 cannot be imp")
    assert done.stderr.count("\n") == 1


def test_list_of_people_warns_of_broken_plugins_and_succeeds(llmrec: Command, strangers: Path) -> None:
    done = llmrec("list", "adapters", PYTHONPATH=str(strangers))
    assert done.returncode == 0
    assert "a stranger that works" in done.stdout
    assert "movies" not in done.stdout
    assert "warning: adapter method 'absent' of package stranger-one 1.2 cannot be imported" in done.stderr


def test_list_of_one_kind_is_an_array_of_objects_with_name(llmrec: Command) -> None:
    done = llmrec("list", "signals", "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert {row["name"] for row in rows} >= FIRST_PARTY["signals"]
    assert {row["kind"] for row in rows} == {"signals"}


def test_list_of_an_unknown_kind_names_the_nearest(llmrec: Command) -> None:
    done = llmrec("list", "adapter")
    assert done.returncode == 2
    assert "unknown kind 'adapter': did you mean 'adapters'?" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["--version"], ["show", "adapters", "lora"]])
def test_command_answers_without_importing_what_computes(llmrec: Command, arguments: list[str]) -> None:
    done = llmrec(*arguments, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "llmrec_peft" in imported, "the profile lists imports"
    assert not imported & HEAVY


def test_version_is_the_packages(llmrec: Command) -> None:
    assert llmrec("--version").stdout == f"llmrec-peft {__version__}\n"


@pytest.mark.parametrize("kind", ["adapters", "adapter"])
def test_show_gives_every_option_with_default_and_documentation(llmrec: Command, kind: str) -> None:
    done = llmrec("show", kind, "lora", "--json")
    answer = json.loads(done.stdout)
    options = {row["name"]: row for row in answer["options"]}
    assert answer["kind"] == "adapters"
    assert options["rank"]["default"] == 8
    assert options["rank"]["limits"] == {"minimum": 1, "maximum": 1024}
    assert not options["rank"]["required"]
    assert all(row["description"] for row in options.values())
    assert answer["capabilities"]["encoder"] is True


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [
        ("recipes", "movies-7b", "recipe"),
        ("readers", "movies", "download"),
        ("backbones", "minilm", "backbone"),
        ("heads", "rating", "options"),
    ],
)
def test_show_knows_every_kind(llmrec: Command, kind: str, name: str, part: str) -> None:
    done = llmrec("show", kind, name, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)[part]


def test_show_for_people_prints_the_options(llmrec: Command) -> None:
    done = llmrec("show", "adapters", "lora")
    assert done.returncode == 0
    assert "rank" in done.stdout
    assert "Rank of the update." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "adaptors", "lora"], "unknown kind 'adaptors': did you mean 'adapters'?"),
        (["show", "signals", "grpah"], "unknown signal 'grpah': did you mean 'graph'?"),
    ],
)
def test_show_of_an_unknown_thing_names_the_nearest(llmrec: Command, arguments: list[str], message: str) -> None:
    done = llmrec(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
