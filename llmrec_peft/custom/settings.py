"""Settings: signals, head, training and split that suit data which nobody has tuned a recipe for."""

from __future__ import annotations

from typing import Any, NamedTuple

from llmrec_peft.custom.columns import DescribingColumns
from llmrec_peft.custom.understand import Understood
from llmrec_peft.unspaced import is_unspaced

_FEW_WORDS, _SOME_WORDS = 12, 40
_LENGTHS = (32, 64, 128)
_NAMES = {"rating": "rating", "click": "click", "implicit": "ranking"}
_TEXTS_SHOWN = 4
"""Columns of texts at most that an item's text has; further ones are a line in the recipe away."""
_SHOWN = 8
_WIDTH = 384
"""Width of the backbone's vectors."""
_SMALL = 20_000
"""Interactions below which batches are small, so that an epoch has enough steps, and ratings and clicks have no vectors
of users and items: on 5,000 ratings these raised validation's RMSE from 0.883 to 0.903, on 35,000 they lowered it."""
_LEAST_LEFT_OUT = 3
"""Interactions that some user has at least where each user's last two are held out."""
_STEPS = 40
"""Steps of an epoch that texts are tuned in, at least."""
_UNTUNED_IN_ORDER = (
    "texts are compared as the model reads them: where lora in the top layer was tried (MicroLens's titles, seed 1),"
    " validation's NDCG@10 was 0.1134 with it and 0.1117 without, a difference below its standard error of 0.0026;"
    " docs/own-data.md"
)
READS_ENGLISH = "it reads English; for Chinese texts take a base model that was trained on them: docs/chinese.md"
"""What is unsure of the proposed base model, where texts are Chinese."""
_UNTUNED = (
    "texts are read untuned: where lora in the top layer was tried (Last.fm's names of artists and Steam's titles, seed"
    " 1), validation's NDCG@10 was 0.1309 and 0.2848 with it, 0.1312 and 0.2924 without; docs/own-data.md"
)


def recipe_values(
    name: str, description: str, data: dict[str, Any], found: Understood
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a recipe as plain values, and comments by dotted field.

    Args:
        name: What the run is called.
        description: One sentence.
        data: The fields of the data section that name the source.
        found: What the columns are.
    """
    split, why = _split(found)
    data = {**data, "split": split, "test_fraction": 0.2, "valid_fraction": 0.1}
    values: dict[str, Any] = {"name": name, "description": description, "seed": 1, "data": data}
    comments = {"data.split": why}
    if found.columns.feedback != "rating":
        data["allow_leakage"] = ["same_text", "same_history"]
        comments["data.allow_leakage"] = (
            "two items may bear one text, and two users may have met the same items: reported, and let"
            " pass; any other leak is refused"
        )
    values["views"] = {"item": {"template": item_template(found), "max_length": _max_length(found)}}
    comments["views.item.template"] = "the text of an item, made of its columns; Jinja2"
    values["backbone"] = {"name": "minilm"}
    comments["backbone.name"] = "22 million parameters; llmrec list backbones"
    if has_chinese_texts(found):
        comments["backbone.name"] = f"unsure: {READS_ENGLISH}"
    values["adapter"], comments["adapter.method"] = _adapter(found)
    values["signals"], more = _signals(found)
    comments |= more
    values["fusion"] = {"dim": _WIDTH if "history" in values["signals"] else 32}
    values["head"], comments["head.name"] = _head(found)
    values["training"] = _training(found)
    comments["training.epochs"] = "at most; validation chooses"
    if found.columns.feedback == "implicit":
        values["evaluation"] = {"own_items": found.columns.repeats}
        comments["evaluation.own_items"] = "whether items that a user has met already are ranked again"
    return values, comments


def has_chinese_texts(found: Understood) -> bool:
    """Return whether texts of items are in Chinese or Japanese, by the examples that stand beside the guesses."""
    return found.texts and any(is_unspaced(guess.said) for guess in found.guesses if guess.table == "items")


def item_template(found: Understood) -> str:
    """Return the template of an item's text: title, year, categories, texts.

    Names are identifiers, so that no column's name can be read as part of the template's language. Where columns have
    Chinese names, the text has Chinese marks and no spaces between its parts.
    """
    items = found.columns.items
    if items is None:
        return "{{ title }}"
    years = [*items.years, *(name for name in items.numbers if _is_year(name))]
    marks = _CHINESE if any(map(is_unspaced, (*items.categories, *items.texts, *years))) else _ENGLISH
    parts = ["{{ title }}"]
    if years:
        parts[0] += f"{{% if {years[0]} %}}{marks.opening}{{{{ {years[0]} }}}}{marks.closing}{{% endif %}}"
    if items.categories or items.texts:
        parts[0] += marks.stop
    for name, category in list(items.categories.items())[:_SHOWN]:
        said = f'{{{{ {name} | join("{marks.comma}") }}}}' if category.mark is not None else f"{{{{ {name} }}}}"
        parts.append(f"{{% if {name} %}}{_spoken(name)}{marks.colon}{said}{marks.stop}{{% endif %}}")
    parts += [f"{{% if {name} %}}{{{{ {name} }}}}{{% endif %}}" for name in list(items.texts)[:_TEXTS_SHOWN]]
    return marks.between.join(parts)


class _Marks(NamedTuple):
    """Punctuation of an item's text."""

    opening: str
    closing: str
    colon: str
    comma: str
    stop: str
    between: str


_ENGLISH = _Marks(" (", ")", ": ", ", ", ".", " ")
_CHINESE = _Marks("（", "）", "：", "、", "。", "")


def _is_year(name: str) -> bool:
    return any(
        word in name for word in ("year", "jahr", "année", "annee", "anno", "released", "release", "date", "年", "日期")
    )


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _max_length(found: Understood) -> int:
    words = found.sizes.words
    return _LENGTHS[0] if words <= _FEW_WORDS else _LENGTHS[1] if words <= _SOME_WORDS else _LENGTHS[2]


def _split(found: Understood) -> tuple[str, str]:
    """Return how test interactions are chosen, and why."""
    timed = found.columns.interactions.time is not None
    if found.columns.feedback == "implicit" and found.sizes.most >= _LEAST_LEFT_OUT:
        if timed:
            return (
                "leave-last-out",
                "times are known: each user's last interaction is the test, the one before validation",
            )
        return "leave-last-out", "no times are known: one interaction of each user, drawn at random, is the test"
    if timed:
        return "temporal", "times are known: the last fifth is the test, as in use; past predicts future"
    return "random", "no times are known: the test is drawn at random"


def _adapter(found: Understood) -> tuple[dict[str, Any], str]:
    """Return the adapter, and why."""
    if not found.texts:
        return {"method": "none"}, "items have no text: there is nothing to tune"
    if _ranks(found):
        return {"method": "none"}, _UNTUNED_IN_ORDER if _in_order(found) else _UNTUNED
    chosen = {"method": "lora", "rank": 8, "alpha": 16, "layers": "top-2"}
    return chosen, "trained inside the language model's top two layers"


def _ranks(found: Understood) -> bool:
    return found.columns.feedback == "implicit"


def _in_order(found: Understood) -> bool:
    """Return whether a ranking compares texts with those of the items that a user met last."""
    return _ranks(found) and found.texts and found.columns.interactions.time is not None


def _signals(found: Understood) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the signals, and what each of them knows."""
    signals: dict[str, Any] = {}
    comments: dict[str, str] = {}
    in_order = _in_order(found)
    if in_order:
        signals["history"] = {
            "pooling": "recency",
            "length": 5,
            "projection": "identity",
            "closest": True,
            "scale": 10.0,
        }
        comments["signals.history"] = "how similar an item's text is to those that the user met last"
        if found.columns.repeats:
            signals["history"] |= {"repeats": "rates", "length": 20}  # people come back to what they met long ago, too
    elif found.texts:
        signals["text"] = {}
        comments["signals.text"] = "what the texts of items say"
    if not in_order:
        few = found.sizes.interactions < _SMALL
        signals["collaborative"] = {"start": "mf"} if _ranks(found) else {"factors": False} if few else {}
        comments["signals.collaborative"] = "who met what"
        if few and not _ranks(found):
            comments["signals.collaborative.factors"] = (
                f"fewer than {_SMALL:,} interactions: vectors of users and items would learn them by heart"
            )
    if _ranks(found):
        signals["popularity"] = {}
        comments["signals.popularity"] = "how often an item was met"
    described = {side: _features(getattr(found.columns, side)) for side in ("users", "items")}
    if any(described.values()):
        signals["features"] = {**{side: names for side, names in described.items() if names}, "min_count": 2}
        comments["signals.features"] = "columns of categories and numbers"
    if found.columns.graph is not None:
        signals["graph"] = {}
        comments["signals.graph"] = "entities that items share"
    return signals, comments


def _features(columns: DescribingColumns | None) -> list[str]:
    return [] if columns is None else [*columns.categories, *columns.numbers, *columns.years]


def _head(found: Understood) -> tuple[dict[str, Any], str]:
    """Return the head, and what it answers."""
    if found.columns.feedback == "rating":
        return {"name": "rating", "loss": "mse", "dropout": 0.1}, "predicts ratings"
    if found.columns.feedback == "click":
        return {"name": "click"}, "predicts the probability of a click"
    said = "there are no ratings and no clicks: it orders the items"
    if _in_order(found):
        return {"name": "ranking", "loss": "bounded_softmax", "bound": 0.5, "negative_count": 2048}, said
    return {"name": "ranking", "negative_count": 1024}, said


def _training(found: Understood) -> dict[str, Any]:
    """Return the training's settings.

    Where texts are tuned, a batch has all interactions of some items, so that each text is encoded once an epoch.
    """
    size = 256 if found.sizes.interactions < _SMALL else 1024
    if _in_order(found):
        rates = _rates(0.001, 0.002, 1.0, 0.03, 0.0)
        fixed = {"epochs": 6, "batch_size": size, "schedule": "linear", "patience": None, "refit": "recount"}
        return {**fixed, "validate_on": 2000, **rates}
    common = {"epochs": 20, "patience": 3, "warmup": 0.02}
    if _ranks(found):
        return {**common, "batch_size": size, "validate_on": 2000, **_rates(0.001, 0.002, 1.0, 0.001, 0.05)}
    few = found.sizes.interactions < _SMALL
    rates = _rates(0.001, 0.003 if few else 0.002, 3.0, 0.01 if few else 0.001, 0.05)
    if found.texts:
        items = max(8, min(64, found.sizes.items // _STEPS))
        return {**common, "batching": "by-item", "items_per_batch": items, "adapter_epochs": 2, **rates}
    return {**common, "batch_size": size, **rates}


def _rates(
    adapter: float, embeddings: float, embeddings_decay: float, head: float, head_decay: float
) -> dict[str, Any]:
    """Return learning rates and weight decays of the groups of parameters."""
    return {
        "adapter": {"learning_rate": adapter, "weight_decay": 0.01},
        "embeddings": {"learning_rate": embeddings, "weight_decay": embeddings_decay},
        "head": {"learning_rate": head, "weight_decay": head_decay},
    }
