"""Recipe: the validated description of a run; YAML in, YAML out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_serializer, model_validator

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.options import MissingFieldsError, Options, UnknownFieldError, refused, validated
from llmrec_peft.printable import for_terminal
from llmrec_peft.recipe.fields import field_names, meant
from llmrec_peft.recipe.reads import Reads
from llmrec_peft.recipe.registered import demo_settings
from llmrec_peft.recipe.search_space import SearchSpace, fields_in_use
from llmrec_peft.recipe.sections import (
    BackboneSection,
    DataSection,
    EvaluationSection,
    FusionSection,
    ServedSection,
    TrainingSection,
    ViewsSection,
)
from llmrec_peft.recipe.update_section import UpdateSection
from llmrec_peft.recipe.yaml_file import apply_override, dump_yaml, merge, parse_override, read_yaml

DEMO = "demo"
"""The value of ``data.path`` that asks for the recipe's own made-up data."""


_TABLES = frozenset(
    (
        ".csv",
        ".tsv",
        ".txt",
        ".dat",
        ".data",
        ".json",
        ".jsonl",
        ".ndjson",
        ".parquet",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".zip",
    )
)
"""Endings of files with data, which people give where a recipe belongs."""
_NAMED = (("data.reader", "readers"), ("adapter.method", "adapters"), ("head.name", "heads"))
"""Required fields that name a plugin, and its kind."""


class AdapterChoice(Options):
    """An adapter method by name, with its own options beside the name."""

    method: str
    """Registered adapter method."""
    config: Options
    """The method's options."""

    @model_validator(mode="before")
    @classmethod
    def _choose(cls, values: Any) -> Any:
        return _chosen("adapters", "method", values, "adapter")

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"method": self.method, **self.config.model_dump(mode="json")}


class HeadChoice(Options):
    """A task head by name, with its own options beside the name."""

    name: str
    """Registered task head."""
    weight: float = Field(default=1.0, gt=0.0, le=1000.0)
    """What its loss counts beside the other heads'."""
    config: Options
    """The head's options."""

    @model_validator(mode="before")
    @classmethod
    def _choose(cls, values: Any) -> Any:
        if isinstance(values, str):
            values = {"name": values}
        weight = {}
        if isinstance(values, dict) and not isinstance(values.get("config"), Options) and "weight" in values:
            weight = {"weight": values["weight"]}
            values = {field: value for field, value in values.items() if field != "weight"}
        return {**_chosen("heads", "name", values, "head"), **weight}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        weight = {} if self.weight == 1.0 else {"weight": self.weight}
        return {"name": self.name, **weight, **self.config.model_dump(mode="json")}


class SignalChoices(Options):
    """The signals in use by name; a signal given as `false` is off."""

    active: dict[str, Options]
    """Options of each signal that is on, in the recipe's order."""
    off: tuple[str, ...] = ()
    """Names of signals that the recipe lists but switches off."""

    @model_validator(mode="before")
    @classmethod
    def _choose(cls, values: Any) -> Any:
        if isinstance(values, dict) and set(values) == {"active", "off"}:
            return values
        if not isinstance(values, dict):
            raise InputError("signals: expected a mapping of signal names to options or false")
        active, off = {}, []
        for name, options in values.items():
            plugin = registry.get("signals", str(name))
            if options is False:
                off.append(str(name))
            else:
                active[str(name)] = validated(plugin.Config, {} if options is True else options, f"signals.{name}")
        return {"active": active, "off": tuple(off)}

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        active = {name: options.model_dump(mode="json") for name, options in self.active.items()}
        return {**active, **dict.fromkeys(self.off, False)}


class Recipe(Options):
    """Everything that decides what a run does."""

    name: str = Field(min_length=1, max_length=96, pattern=r"^[\w][\w .\-]*$")
    """What the run is called in reports."""
    description: str = ""
    """One sentence for reports and model cards."""
    seed: int = Field(default=1, ge=0, lt=2**32)
    """Seed of initial values, batch order and dropout."""
    data: DataSection
    """Where the data comes from and how it is divided."""
    views: ViewsSection
    """The texts that the language model reads."""
    backbone: BackboneSection = BackboneSection()
    """The frozen language model."""
    adapter: AdapterChoice
    """The modules trained inside it."""
    signals: SignalChoices
    """Representations of users and items that are joined."""
    fusion: FusionSection = FusionSection()
    """How they are joined."""
    head: HeadChoice
    """The question that is answered; of several, the one whose metric chooses epochs."""
    heads: tuple[HeadChoice, ...] = ()
    """Several questions, trained together on one backbone and adapter: names or blocks, the first is `head`."""
    training: TrainingSection = TrainingSection()
    """The training loop."""
    evaluation: EvaluationSection = EvaluationSection()
    """What is reported."""
    update: UpdateSection = UpdateSection()
    """How `llmrec update` goes on from a run with newer data."""
    tune: SearchSpace = Field(default={})
    """Fields that `llmrec tune` varies: dotted names, each with `low`, `high` and `log`, or with `choices`."""
    served: ServedSection | None = None
    """What a trained run answers with, as its training chose; null for the tuned model."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        """`heads` names all heads; a block under `head` gives the options of the one it names."""
        if not isinstance(values, dict) or not values.get("heads"):
            return values
        if not isinstance(values["heads"], list | tuple):
            raise InputError("heads: expected a list of head names or blocks")
        blocks = [{"name": given} if isinstance(given, str) else given for given in values["heads"]]
        single = values.get("head")
        if isinstance(single, dict):
            blocks = [single if block == {"name": single.get("name")} else block for block in blocks]
        names = [block.get("name") if isinstance(block, dict) else getattr(block, "name", None) for block in blocks]
        if len(set(map(str, names))) < len(names):
            raise InputError(f"heads: each head once, not {', '.join(map(str, names))}")
        return {**values, "head": blocks[0], "heads": blocks if len(blocks) > 1 else ()}

    @property
    def all_heads(self) -> tuple[HeadChoice, ...]:
        """Every head that is trained, the primary one first."""
        return self.heads or (self.head,)

    @cached_property
    def reads(self) -> Reads:
        """What the recipe's plugins read, asked of them once."""
        return Reads.of(self.all_heads, self.signals.active, self.views)

    @property
    def refits(self) -> bool:
        """Whether the final model learns from validation, too."""
        return bool(self.training.refit) and self.data.protocol != "train"

    def plain(self) -> dict[str, Any]:
        """The recipe as plain values, every default written out."""
        values = self.model_dump(mode="json")
        if self.heads:
            values["heads"][0] = self.head.name  # its options stand under `head`, where overrides find them
        return values

    def unserved(self) -> Self:
        """The recipe as it can be trained: without what a training chose."""
        return self if self.served is None else self.changed({"served": None})

    def to_yaml(self) -> str:
        """The recipe as YAML, every default written out."""
        return dump_yaml(self.plain())

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy with dotted fields replaced, validated again.

        Raises:
            InputError: When a change does not fit.
        """
        values = self.plain()
        for path, value in changes.items():
            apply_override(values, path, value)
        return self.from_plain(values)

    def __repr__(self) -> str:
        """Return what is trained on what, in one line; `to_yaml` has everything."""
        data = self.data.reader if self.data.path is None else f"{self.data.reader} at {self.data.path}"
        signals = ", ".join(self.signals.active)
        return for_terminal(
            f"Recipe {self.name!r}: {self.head.name} from {signals}; {self.adapter.method} in {self.backbone.name};"
            f" data {data}, {self.data.split} split; seed {self.seed}"
        )

    __str__ = __repr__

    @classmethod
    def from_plain(cls, values: Any, where: str = "") -> Self:
        """Validate plain values.

        Raises:
            InputError: One line that names the field, and the file where one is given.
        """
        prefix = f"{where}: " if where else ""
        if not isinstance(values, dict):
            raise InputError(f"{prefix}a recipe is a mapping of fields, got {type(values).__name__}")
        try:
            recipe = cls.model_validate(values)
            registry.get("readers", recipe.data.reader)
            fields_in_use(recipe.tune, cls, values)
        except ValidationError as error:
            raise InputError(prefix + _explained(refused(error, cls), cls, values)) from None
        except InputError as error:
            raise InputError(prefix + _explained(error, cls, values)) from None
        return recipe


def load_recipe(source: str, overrides: Iterable[str] = (), changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by registered name or YAML path and apply overrides.

    Later wins: the file, then the settings for made-up data (see `demo_settings`) where ``data.path`` is `demo`,
    then `changes`, then `overrides`.

    Args:
        source: Registered name, or path of a YAML file (recognized by its ending or a slash).
        overrides: ``a.b=value`` as typed after ``--set``; the value is YAML.
        changes: Dotted fields and plain values, such as ``{"data.path": "/data"}``.

    Raises:
        InputError: For anything that does not name, parse or validate.
    """
    path = recipe_path(source)
    registered = not _is_path(source)
    values = read_yaml(path)
    where = source if path.suffix and "/" not in source and not Path(source).exists() else str(path)
    if not isinstance(values, dict):
        raise InputError(f"{where}: a recipe is a mapping of fields, got {type(values).__name__}")
    edits = [*merge({}, dict(changes or {})).items(), *(parse_override(override) for override in overrides)]
    edited = merge({}, values)
    for dotted, value in edits:
        apply_override(edited, dotted, value)
    data = edited.get("data")
    if isinstance(data, dict) and data.get("path") == DEMO and isinstance(data.get("reader"), str):
        settings = demo_settings(path, data["reader"], registered)
        edited = merge(values, {} if settings is None else read_yaml(settings))
        for dotted, value in edits:
            apply_override(edited, dotted, value)
    return Recipe.from_plain(edited, where="" if source in registry.plugins("recipes") else where)


def run_folder(recipe: Recipe) -> Path:
    """Return the run folder of a recipe whose user names none: ``runs/NAME-seedN``."""
    return Path("runs") / f"{recipe.name.replace(' ', '-')}-seed{recipe.seed}"


def recipe_path(source: str) -> Path:
    """Find the YAML file of a registered name or path.

    Raises:
        InputError: When there is no such file or name.
    """
    path = Path(source)
    if path.suffix.lower() in _TABLES and path.is_file():
        raise InputError(
            f"{source} is a table, no recipe: llmrec init custom --interactions {source} writes the recipe that reads"
            " it"
        )
    if _is_path(source):
        if path.is_dir():
            raise InputError(f"{source} is a folder, no recipe: name the recipe that reads it, and give it with --data")
        if not path.is_file():
            raise InputError(f"no recipe file {source}")
        return path
    file: Path = registry.get("recipes", source)
    return file


def _is_path(source: str) -> bool:
    return source.endswith((".yaml", ".yml")) or "/" in source


def _explained(error: InputError, recipe: type[Recipe], values: Any) -> str:
    """Return what is wrong with a recipe: beside missing fields what can be named there, beside an unknown one the
    field of another block that was meant."""
    if isinstance(error, MissingFieldsError):
        choices = [f"{name}: {', '.join(registry.plugins(kind))}" for name, kind in _NAMED if name in error.fields]
        return f"{error} ({'; '.join(choices)})" if choices else str(error)
    if not isinstance(error, UnknownFieldError):
        return str(error)
    likely = meant(error.field, field_names(recipe, values))
    same = bool(likely) and likely[0].rpartition(".")[2] == error.field.rpartition(".")[2]
    if not likely or (error.close is not None and not same):
        return str(error)
    known = f" Known: {', '.join(sorted(error.known))}" if error.known else ""
    return f"unknown field {error.field!r}: did you mean {' or '.join(map(repr, likely))}?{known}"


def _chosen(kind: str, key: str, values: Any, where: str) -> Any:
    """Split a flat block into the plugin's name and its validated options."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a block with {key!r}, got {type(values).__name__}")
    if isinstance(values.get("config"), Options):
        return values
    if key not in values:
        return {}  # all fields that a recipe lacks are named together
    name = values[key]
    if not isinstance(name, str):
        raise InputError(f"{where}.{key}: name one of {', '.join(registry.plugins(kind))}")
    plugin = registry.get(kind, name)
    options = {field: value for field, value in values.items() if field != key}
    return {key: name, "config": validated(plugin.Config, options, where)}
