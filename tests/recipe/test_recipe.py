"""Recipe: validated YAML, overrides, one line that names the field and what would be right."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pytest
from pydantic import Field

from llmrec_peft import registry
from llmrec_peft.data.source import Reader
from llmrec_peft.errors import InputError
from llmrec_peft.options import spelled
from llmrec_peft.recipe import Recipe, load_recipe
from llmrec_peft.recipe.sections import ItemView

Command = Callable[..., subprocess.CompletedProcess[str]]
SMALL = """\
name: mine
data:
  reader: movies
views:
  item:
    template: "{{ title }}"
adapter:
  method: lora
  rank: 4
signals:
  text: {}
  collaborative: {}
  graph: false
head:
  name: rating
"""


def written(folder: Path, text: str = SMALL, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_registered_recipe_is_valid_as_it_stands() -> None:
    recipe = load_recipe("movies")
    assert recipe.name == "movies"
    assert recipe.data.path is None
    assert list(recipe.signals.active) == ["text", "collaborative", "graph"]


@pytest.mark.parametrize("name", ["mine.yaml", "mine.yml", "folder.d/mine"])
def test_recipe_is_read_from_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.d").mkdir()
    recipe = load_recipe(written(tmp_path, name=name))
    assert (recipe.name, recipe.adapter.config.rank) == ("mine", 4)  # type: ignore[attr-defined]


def test_defaults_are_written_out_and_what_is_written_loads_equal(tmp_path: Path) -> None:
    changes = ["training.epochs=3", "data.graph=/some/where", "description=\"Übung: 'quoted' # no comment\""]
    for source in ("movies", written(tmp_path)):
        recipe = load_recipe(source, changes)
        assert recipe.plain()["training"]["patience"] == 3 or source == "movies"
        again = load_recipe(written(tmp_path, recipe.to_yaml(), "again.yaml"))
        assert again == recipe
        assert again.to_yaml() == recipe.to_yaml()
        assert json.loads(json.dumps(recipe.plain())) == recipe.plain()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainig.epochs=3", r"unknown field 'trainig': did you mean 'training'\?"),
        ("training.epoch=3", r"unknown field 'training\.epoch': did you mean 'epochs'\?"),
        (
            "training.head.learning_rat=1",
            r"unknown field 'training\.head\.learning_rat': did you mean 'learning_rate'\?",
        ),
        ("views.item.templat=x", r"unknown field 'views\.item\.templat': did you mean 'template'\?"),
        ("adapter.ranks=3", r"unknown field 'adapter\.ranks': did you mean 'rank'\?"),
        ("head.los=mse", r"unknown field 'head\.los': did you mean 'loss'\?"),
        ("signals.text.dropou=0.1", r"unknown field 'signals\.text\.dropou': did you mean 'dropout'\?"),
        ("signals.texts.dropout=0.1", r"unknown signal 'texts': did you mean 'text'\?"),
        ("adapter.method=lroa", r"unknown adapter method 'lroa': did you mean 'lora'\?"),
        ("head.name=ratings", r"unknown task head 'ratings': did you mean 'rating'\?"),
        ("data.reader=movie", r"unknown reader 'movie': did you mean 'movies'\?"),
    ],
)
def test_unknown_name_anywhere_is_refused_with_the_nearest(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(written(tmp_path), [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epochs=0", ["training.epochs", "greater than or equal to 1", "given: 0"]),
        ("training.epochs=many", ["training.epochs", "integer", "'many'"]),
        ("training.epochs=", ["training.epochs", "integer", "None"]),
        ("data.split=cold", ["data.split", "'cold-item'", "given: 'cold'"]),
        ("data.valid_fraction=1", ["data.valid_fraction", "less than 1"]),
        ("adapter.rank=0", ["adapter.rank", "greater than or equal to 1"]),
        ("training.adapter.learning_rate=.nan", ["training.adapter.learning_rate", "finite"]),
        ("seed=-1", ["seed", "greater than or equal to 0"]),
        ("name=../up", ["name", "pattern"]),
        ("evaluation.ablations=[texts]", ["evaluation.ablations", "'text'"]),
        ("adapter=lora", ["adapter", "block with 'method'"]),
        ("signals=[text]", ["signals", "mapping"]),
        ("signals.text=5", ["signals.text", "block of options", "5"]),
        ("seed.x=1", ["--set seed.x", "'seed' is a single value"]),
    ],
)
def test_wrong_value_names_field_and_what_would_be_right(tmp_path: Path, override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(written(tmp_path, SMALL + "seed: 3\n"), [override])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("name", r"name: Field required$"),
        ("data", r"data\.reader: Field required \(data\.reader: .*movies.*\)$"),
        ("views", r"views\.item\.template: Field required$"),
        ("adapter", r"adapter\.method: Field required \(adapter\.method: .*lora.*\)$"),
        ("signals", r"signals: Field required$"),
        ("head", r"head\.name: Field required \(head\.name: .*rating.*\)$"),
    ],
)
def test_missing_block_is_named_by_its_required_field(block: str, message: str) -> None:
    values = load_recipe("movies").plain()
    del values[block]
    with pytest.raises(InputError, match=f"^{message}"):
        Recipe.from_plain(values)


@pytest.mark.parametrize("values", [{}, {"adapter": {}, "head": {"weight": 2.0}, "data": {}}])
def test_all_missing_fields_are_named_together(values: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.from_plain(values)
    missing = "name, data.reader, views.item.template, adapter.method, signals, head.name: Fields required"
    assert str(caught.value).startswith(missing)


def test_misspelled_block_is_named_before_what_is_missing() -> None:
    with pytest.raises(InputError, match=r"^unknown field 'adaptr': did you mean 'adapter'"):
        Recipe.from_plain({"name": "mine", "adaptr": {"method": "lora"}})


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("epochs=2", "'training.epochs'?"),
        ("epoch=2", "'training.epochs'?"),
        ("rank=8", "'adapter.rank'?"),
        ("adapter.epochs=2", "'training.epochs'?"),
        ("precision=fp32", "'backbone.precision'?"),
        (
            "learning_rate=1e-3",
            "'training.adapter.learning_rate' or 'training.embeddings.learning_rate' or 'training.head.learning_rate'?",
        ),
    ],
)
def test_field_of_another_block_is_hinted_at(tmp_path: Path, override: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(written(tmp_path), [override])
    field = override.partition("=")[0]
    assert f"unknown field {field!r}: did you mean {meant} Known: " in str(caught.value)


def test_unlike_name_is_answered_with_what_the_block_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown field 'training\.zzz': Known: accumulate, adapter, "):
        load_recipe(written(tmp_path), ["training.zzz=2"])


def test_error_in_a_file_names_the_file(tmp_path: Path) -> None:
    source = written(tmp_path, SMALL + "seeds: 3\n")
    with pytest.raises(InputError, match="unknown field 'seeds': did you mean 'seed'") as caught:
        load_recipe(source)
    assert str(caught.value).startswith(f"{source}: ")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text\n", "3\n"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="a recipe is a mapping of fields, got "):
        load_recipe(written(tmp_path, text))


@pytest.mark.parametrize("name", ["ratings.csv", "plays.tsv.gz", "pairs.PARQUET"])
def test_table_in_place_of_a_recipe_is_told_what_writes_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_text("user,item\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for source in (name, f"./{name}", str(tmp_path / name)):
        with pytest.raises(InputError) as caught:
            load_recipe(source)
        assert f"llmrec init custom --interactions {source} writes the recipe that reads it" in str(caught.value)
    with pytest.raises(InputError, match="is a folder, no recipe: name the recipe that reads it"):
        load_recipe(str(tmp_path))


def test_unknown_recipe_and_absent_file_are_told_apart() -> None:
    with pytest.raises(InputError, match="unknown recipe 'moveis': did you mean 'movies'"):
        load_recipe("moveis")
    with pytest.raises(InputError, match=r"no recipe file moveis\.yaml"):
        load_recipe("moveis.yaml")


def test_numbers_booleans_and_lists_arrive_as_such() -> None:
    recipe = load_recipe(
        "movies",
        [
            "training.head.learning_rate=1e-3",
            "backbone.normalize=false",
            "evaluation.ablations=[text, adapter]",
            "training.patience=null",
            "training.clip_norm=2",
            "data.graph=kg folder/with spaces=and equals",
            "adapter.layers=[1, 3]",
        ],
    )
    assert recipe.training.head.learning_rate == 0.001
    assert recipe.backbone.normalize is False
    assert recipe.evaluation.ablations == ("text", "adapter")
    assert recipe.training.patience is None
    assert recipe.training.clip_norm == 2.0
    assert recipe.data.graph == "kg folder/with spaces=and equals"
    assert recipe.adapter.config.layers == (1, 3)  # type: ignore[attr-defined]


def test_later_override_wins_over_earlier_and_over_changes() -> None:
    recipe = load_recipe("movies", ["seed=2", "seed=3", "data.path=b"], {"seed": 1, "data.path": "a"})
    assert (recipe.seed, recipe.data.path) == (3, "b")


def test_naming_another_method_drops_the_former_ones_options(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path), ["adapter.method=none"])
    assert recipe.plain()["adapter"] == {"method": "none"}
    back = recipe.changed({"adapter.method": "lora"})
    assert back.adapter.config.rank == 8  # type: ignore[attr-defined]


def test_naming_the_same_method_keeps_its_options(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path), ["adapter.method=lora", "adapter.alpha=2"])
    assert recipe.plain()["adapter"] | {"rank": 4, "alpha": 2.0} == recipe.plain()["adapter"]


def test_signals_are_switched_off_and_on(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path), ["signals.text=false", "signals.graph=true"])
    assert list(recipe.signals.active) == ["collaborative", "graph"]
    assert recipe.signals.off == ("text",)
    assert recipe.plain()["signals"]["text"] is False
    back = recipe.changed({"signals.text.dropout": 0.25, "signals.collaborative": False})
    assert back.signals.active["text"].model_dump()["dropout"] == 0.25
    assert back.signals.off == ("collaborative",)


def test_recipe_cannot_be_changed_in_place() -> None:
    recipe = load_recipe("movies")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2
    assert recipe.changed({"seed": 2}).seed == 2
    assert recipe.seed != 2


def test_every_field_is_documented() -> None:
    def undocumented(options: Any, where: str) -> list[str]:
        missing = []
        for name, field in options.model_fields.items():
            if not field.description:
                missing.append(f"{where}.{name}")
            if hasattr(field.annotation, "model_fields"):
                missing += undocumented(field.annotation, f"{where}.{name}")
        return missing

    assert undocumented(Recipe, "recipe") == []
    for kind in ("adapters", "heads", "signals"):
        for name in registry.plugins(kind):
            assert undocumented(registry.get(kind, name).Config, name) == []


@pytest.fixture
def recipe_with_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registered recipe `fake` whose reader, of the same name, has a demo.yaml in its folder."""
    recipe = written(tmp_path, SMALL.replace("reader: movies", "reader: fake"), "recipe.yaml")
    written(tmp_path, "description: made up\nseed: 5\ntraining: {epochs: 7, patience: null}\n", "demo.yaml")

    class Fake(Reader):
        __module__ = "fake_reader"

        def read(self, path: Path, graph: Path | None) -> Any:
            raise NotImplementedError

    module = types.ModuleType("fake_reader")
    module.__file__ = str(tmp_path / "fake_reader.py")
    monkeypatch.setitem(sys.modules, "fake_reader", module)
    fakes: dict[tuple[str, str], Any] = {("recipes", "fake"): Path(recipe), ("readers", "fake"): Fake}
    loaded = registry.get
    monkeypatch.setattr(registry, "get", lambda kind, name: fakes.get((kind, name)) or loaded(kind, name))
    return "fake"


def test_demo_overlay_lies_between_file_and_overrides(recipe_with_demo: str) -> None:
    plain = load_recipe(recipe_with_demo)
    assert (plain.seed, plain.training.epochs, plain.description) == (1, 10, "")
    demo = load_recipe(recipe_with_demo, ["training.epochs=2"], {"data.path": "demo"})
    assert (demo.seed, demo.training.epochs, demo.training.patience) == (5, 2, None)
    assert demo.adapter.config.rank == 4, "what the overlay leaves out stays"  # type: ignore[attr-defined]


def test_demo_overlay_is_laid_for_an_override_and_for_a_file_of_ones_own(recipe_with_demo: str, tmp_path: Path) -> None:
    assert load_recipe(recipe_with_demo, ["data.path=demo"]).training.epochs == 7
    own = written(tmp_path, SMALL.replace("reader: movies", "reader: fake\n  path: demo") + "seed: 9\n", "own.yaml")
    assert load_recipe(own).training.epochs == 7
    assert load_recipe(own, ["data.path=elsewhere"]).seed == 9, "no overlay for other data"


def test_overlay_of_one_recipe_alone_stands_in_the_place_of_its_readers(recipe_with_demo: str, tmp_path: Path) -> None:
    own = written(tmp_path, SMALL.replace("reader: movies", "reader: fake\n  path: demo"), "own.yaml")
    written(tmp_path, "seed: 6\n", "own.demo.yaml")
    assert (load_recipe(own).seed, load_recipe(own).training.epochs) == (6, 10)


def test_demo_of_the_film_recipe_is_valid() -> None:
    demo = load_recipe("movies", [], {"data.path": "demo"})
    assert demo.data.path == "demo"
    assert demo.description != load_recipe("movies").description


def test_init_copies_a_recipe_that_validates_and_names_the_next_command(llmrec: Command, tmp_path: Path) -> None:
    made = llmrec("init", "movies", cwd=tmp_path)
    assert made.returncode == 0
    assert "llmrec train movies.yaml" in made.stdout
    assert [entry.name for entry in tmp_path.iterdir()] == ["movies.yaml"]
    assert load_recipe(str(tmp_path / "movies.yaml")) == load_recipe("movies")
    checked = llmrec("validate", "movies.yaml", "--set", "seed=4", "--json", cwd=tmp_path)
    assert checked.returncode == 0
    assert json.loads(checked.stdout)["seed"] == 4
    again = llmrec("init", "movies", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stderr == "error: movies.yaml exists already: --overwrite replaces it, --out names another file\n"


def test_validate_prints_the_resolved_recipe_which_is_a_recipe(llmrec: Command, tmp_path: Path) -> None:
    resolved = llmrec("validate", "movies", "--resolved", "--set", "adapter.method=none")
    assert resolved.returncode == 0
    again = load_recipe(written(tmp_path, resolved.stdout))
    assert again == load_recipe("movies", ["adapter.method=none"])


def test_validate_refuses_a_broken_template(llmrec: Command, tmp_path: Path) -> None:
    source = written(tmp_path, SMALL.replace("{{ title }}", "{{ title "))
    done = llmrec("validate", source)
    assert done.returncode == 2
    assert ": views.item.template: line 1 of the template: " in done.stderr


def test_run_holds_the_resolved_recipe_of_a_training_from_a_file(
    tmp_path: Path, tiny_run: Path, tiny_backbone: Path
) -> None:
    recipe = load_recipe(str(tiny_run / "recipe.yaml"))
    assert recipe.backbone.name == str(tiny_backbone)
    assert (recipe.training.epochs, recipe.training.refit) == (1, False)
    assert recipe.signals.off == ("graph",), "no graph was given"
    assert recipe.to_yaml() == (tiny_run / "recipe.yaml").read_text(encoding="utf-8")


def test_only_items_have_further_wordings() -> None:
    wrong = 'views.prompt.variants=["{{ item.title }}"]'
    with pytest.raises(InputError, match=r"unknown field 'views\.prompt\.variants'.*Known: chat, max_length, template"):
        load_recipe("tallrec-movie", ["views.prompt.template={{ item.title }}", wrong])


@pytest.mark.parametrize("served", [{"share": 0.5}, {"baseline": "bias"}, {"share": 0.0, "baseline": "bias"}])
def test_what_is_served_has_a_baseline_with_its_share_or_none(served: dict[str, Any]) -> None:
    values = {**load_recipe("movies").plain(), "served": served}
    with pytest.raises(InputError, match="served: a baseline has a share above 0, and a share has a baseline"):
        Recipe.from_plain(values)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (int, "int"),
        (Annotated[int, Field(ge=2)] | Literal["all"], "int | Literal['all']"),
        (Union[float, None], "float | None"),  # noqa: UP007 - the older spelling is another type
        (tuple[str, ...], "tuple[str, ...]"),
        (ItemView | None, "ItemView | None"),
        (dict[str, list[int]], "dict[str, list[int]]"),
    ],
)
def test_types_are_told_as_one_writes_them(annotation: Any, said: str) -> None:
    assert spelled(annotation) == said
