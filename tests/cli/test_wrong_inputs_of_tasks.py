"""Wrong inputs of heads, signals and protocols: exit code 2, one line, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from resealed import resealed
from task_places import Place, Run, likes, listing, ml, records, target_in_its_history

from llmrec_peft.artifact.predictions import NAME, HeadPredictions, Predictions, read_predictions, write_predictions
from llmrec_peft.testing.adapters.backbones import make_tiny


def nothing(place: Place) -> None:
    """The arguments alone are wrong."""


def one_class(part: str) -> Callable[[Place], None]:
    return lambda place: place.edit(f"likes/{part}.jsonl", lambda rows: [row.update(label=1) for row in rows])


def label_of_two(place: Place) -> None:
    place.edit("likes/train.jsonl", lambda rows: rows[4].update(label=2))


def no_time(place: Place) -> None:
    for part in ("train", "valid", "test"):
        place.edit(f"likes/{part}.jsonl", lambda rows: [row.update(timestamp=7) for row in rows])


def pair_in_two_parts(place: Place) -> None:
    line = (place.folder / "ml" / "u1.base").read_text(encoding="utf-8").splitlines()[0]
    with (place.folder / "ml" / "u1.test").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def graph_without_triples(place: Place) -> None:
    (place.folder / "kg").mkdir()
    for name in ("ml.kg", "ml.link"):
        (place.folder / "kg" / name).write_text("head\trelation\ttail\n", encoding="utf-8")


def decoder_that_cannot_speak(place: Place) -> None:
    make_tiny("tiny-llama", place.folder / "dec")


LONG = "views.prompt={template: '" + "like it " * 9 + "{{ item.title }}', max_length: 16}"
CASES: dict[str, tuple[Callable[[Place], None], list[str], list[str]]] = {
    "graph alone where there is none": (
        nothing,
        ml("signals={graph: {}}"),
        ["signals: graph need a knowledge graph, and there is none: give data.graph"],
    ),
    "text of an item longer than the window": (
        nothing,
        ml("views.item={template: '" + "{{ title }} " * 40 + "', max_length: 200}", "signals={text: {}}"),
        ["views.item.max_length: a text takes", "over the 64 that"],
    ),
    "graph folder without triples": (graph_without_triples, ml("data.graph=kg"), ["kg"]),
    "history that no owner gives": (
        nothing,
        ml("data.history=given", "signals={history: {}}"),
        ["data.history: MovieLens-100K gives no histories; choose earlier"],
    ),
    "history where nobody met anything before": (
        no_time,
        likes("signals={history: {}}"),
        ["has no histories: nobody met anything before", "signals.history=false"],
    ),
    "taste in a ranking": (
        nothing,
        likes("head={name: ranking}", "signals={taste: {}}"),
        ["signals.taste: ", "a ranking has none", "use signals.history"],
    ),
    "soft tokens without a prompt": (
        nothing,
        likes("signals={soft_tokens: {}, text: {}}"),
        ["signals.soft_tokens: no head of the recipe reads prompts", "head.feed=prompt"],
    ),
    "prompts without a template": (
        nothing,
        likes("head.feed=prompt", "signals={history: {}}"),
        ["views.prompt: the head reads prompts, and the recipe has no template", "item.title"],
    ),
    "prompt too long for any candidate": (
        nothing,
        records("head.feed=prompt", LONG),
        ["tokens without any history, over the 16 of max_length", "raise it in views"],
    ),
    "decoder that cannot say yes": (
        decoder_that_cannot_speak,
        records("backbone.name=dec", "head.feed=prompt", "views.prompt.template={{ item.title }}?"),
        ["backbone dec: no output embedding in its files"],
    ),
    "clicks from stars": (
        nothing,
        ml("head={name: click}"),
        ["head click: labels run from 1 to 5", "head.threshold=4"],
    ),
    "threshold beyond the stars": (
        nothing,
        ml("head={name: click, threshold: 6}"),
        ["head.threshold: 6 lies outside the labels' 1 to 5"],
    ),
    "label that is no like": (label_of_two, likes(), ["train.jsonl, line 5", "label"]),
    "stars below the scale": (
        lambda place: (place.folder / "ml" / "u1.base").write_text("3\t4\t0\t1\n", encoding="utf-8"),
        ml("head={name: ranking}"),
        ["u1.base, line 1: rating 0 is outside 1 to 5"],
    ),
    "validation of one class": (
        one_class("valid"),
        likes(),
        ["head click: all 24 validation examples of CoLLM MovieLens-1M are positive: AUC needs both classes"],
    ),
    "test of one class": (one_class("test"), likes(), ["head click: all 24 test examples", "are positive"]),
    "threshold that parts nothing": (
        lambda place: (place.folder / "ml" / "u1.test").write_text("1\t1\t1\t9\n2\t2\t2\t9\n", encoding="utf-8"),
        ml("head={name: click, threshold: 5}"),
        ["head click: all 2 test examples of MovieLens-100K are negative", "data.split or head.threshold"],
    ),
    "pair in training and in test": (
        pair_in_two_parts,
        ml(),
        [
            "the data gives answers away: 1 test examples: the same user and item are in the data learnt from",
            "data.allow_leakage=true",
        ],
    ),
    "question that its own history answers": (
        target_in_its_history,
        records(),
        ["1 test examples: the item stands in its own history (first: interaction 80)"],
    ),
    "more training than there is": (
        nothing,
        likes("data.train_size=73"),
        ["data.train_size: 73 training interactions were asked for, there are 72"],
    ),
    "training of one": (nothing, likes("data.train_size=1"), ["data.train_size: ", "greater than or equal to 2"]),
    "training of some": (nothing, likes("data.train_size=some"), ["data.train_size: ", "integer", "'all'"]),
    "unknown protocol": (
        nothing,
        likes("data.protocol=future"),
        ["data.protocol: Input should be 'train', 'train+valid' or 'prequential' (given: 'future')"],
    ),
    "unknown refit": (nothing, likes("training.refit=recont"), ["training.refit: ", "boolean", "'recount'"]),
    "unknown head": (nothing, likes("head.name=clik"), ["unknown task head 'clik': did you mean 'click'?"]),
    "unknown head beside another": (
        nothing,
        ml("heads=[rating, retreival]"),
        ["unknown task head 'retreival': did you mean 'retrieval'?"],
    ),
    "head twice": (nothing, ml("heads=[rating, rating]"), ["heads: each head once, not rating, rating"]),
    "head without weight": (
        nothing,
        ml("heads=[rating, {name: retrieval, weight: 0}]"),
        ["heads.1.weight: Input should be greater than 0 (given: 0)"],
    ),
    "unknown loss": (nothing, likes("head.loss=mse"), ["head.loss: Input should be 'bce' or 'focal' (given: 'mse')"]),
    "unknown feed": (nothing, likes("head.feed=pormpt"), ["head.feed: Input should be 'pair' or 'prompt'"]),
    "unknown negatives": (
        nothing,
        likes("head={name: ranking, negatives: all}"),
        ["head.negatives: Input should be 'catalogue', 'in-batch', 'uniform' or 'popularity'"],
    ),
    "hard negatives without texts": (
        nothing,
        likes("head={name: retrieval, hard_negatives: 2}", "signals={collaborative: {}}"),
        ["head.hard_negatives: they are found by text, and no signal of the recipe reads any"],
    ),
    "width that texts do not have": (
        nothing,
        likes("signals={history: {projection: identity}}", "fusion.dim=16"),
        ["signals.history.projection: identity keeps the text vectors' width 32, the fusion has 16"],
    ),
    "expansion of histories that are not given": (
        nothing,
        ml("data.expand_histories=true"),
        ["data.expand_histories: only histories that the owner gives"],
    ),
    "ranks among none": (
        nothing,
        likes("evaluation.sampled=0"),
        ["evaluation.sampled: ", "greater than or equal to 1"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_one_line_of_exit_code_2_and_leaves_nothing(
    name: str, task_place: Place, llmrec_here: Run
) -> None:
    spoil, arguments, words = CASES[name]
    spoil(task_place)
    before = listing(task_place.folder)
    done = llmrec_here(*arguments)
    assert done.code == 2, done.err
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("error: ")
    for word in words:
        assert word in done.err
    assert listing(task_place.folder) == before


def test_refusal_after_the_start_leaves_no_run_to_be_resumed(task_place: Place, llmrec_here: Run) -> None:
    """The recipe is mended and typed again: nothing is in its way."""
    wrong = likes("signals={history: {projection: identity}}", "fusion.dim=16")
    assert llmrec_here(*wrong).code == 2
    done = llmrec_here(*likes("signals={history: {projection: identity}}", "fusion.dim=32"))
    assert done.code == 0, done.err
    assert (task_place.folder / "new" / "metrics.json").is_file()


def test_typing_error_does_not_throw_an_interrupted_run_away(task_place: Place, llmrec_here: Run) -> None:
    folder = task_place.folder / ".new.training"
    folder.mkdir()
    (folder / "identity.json").write_text("{}", encoding="utf-8")
    before = listing(task_place.folder)
    for how in ("--resume", "--overwrite"):
        assert llmrec_here(*likes("data.train_size=73"), how).code == 2
        assert listing(task_place.folder) == before


def test_runs_of_other_test_parts_are_not_compared(task_place: Place, tiny_run: Path, llmrec_here: Run) -> None:
    for name in ("one", "other"):
        shutil.copytree(tiny_run, task_place.folder / name)
    said = read_predictions(task_place.folder / "one" / NAME)
    (rating,) = said.heads.values()
    fewer = {name: values[:-1] for name, values in rating.models.items()}
    heads = {"rating": HeadPredictions(rating.task, rating.metric, rating.best_baseline, rating.observed[:-1], fewer)}
    write_predictions(
        task_place.folder / "other" / NAME, Predictions(said.user[:-1], said.item[:-1], said.label[:-1], heads)
    )
    recipe = task_place.folder / "other" / "recipe.yaml"  # another run: predictions are no part of its version
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("seed: 1", "seed: 2", 1), encoding="utf-8")
    resealed(task_place.folder / "other")
    before = listing(task_place.folder)
    done = llmrec_here("compare", "one", "--against", "other")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: other was tested on other examples ({len(said) - 1}) than one ({len(said)})")
    assert done.err.count("\n") == 1
    assert listing(task_place.folder) == before
