"""Recipe: the validated description of a run; YAML in, YAML out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_serializer, model_validator

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, one_line, validated
from llmrec_peft.recipe_yaml import apply_override, dump_yaml, merge, parse_override, read_yaml

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]
DEMO = "demo"
"""The value of ``data.path`` that asks for the recipe's own made-up data."""


class DataSection(Options):
    """Where the data comes from and how it is divided."""

    reader: str
    """Registered recipe whose reader reads the files."""
    path: str | None = None
    """Folder in its owner's layout, or `demo` for a small made-up set. On the command line: --data."""
    graph: str | None = None
    """Folder with knowledge-graph triples and item links; without it the graph signal is off."""
    split: Literal["official", "random", "temporal", "leave-last-out", "cold-item"] = "official"
    """How test interactions are chosen; `cold-item` holds whole items out of training."""
    test_fraction: Fraction = 0.2
    """Share of interactions (of items for `cold-item`) in the test part, where the split is ours."""
    valid_fraction: Fraction = 0.1
    """Share of what remains for training that is held out for validation, by the same kind of split."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the division, apart from `seed` so that runs of several seeds share one division."""
    max_items: int | None = Field(default=None, ge=1)
    """Items kept at most, drawn by `split_seed`, with their interactions; null for all."""


class TextView(Options):
    """How one text is made of an item's columns."""

    template: str = Field(min_length=1)
    """Jinja2 template over the columns of the items table, such as `{{ title }} ({{ year }})`."""
    max_length: int = Field(default=48, ge=4, le=8192)
    """Tokens kept of a text."""


class ViewsSection(Options):
    """The texts that the language model reads."""

    item: TextView
    """Text of an item."""


class BackboneSection(Options):
    """The frozen language model."""

    name: str = "minilm"
    """Registered alias, local folder, or Hub id."""
    revision: str | None = None
    """Commit of a Hub id; required for one (a branch name moves). An alias brings its own."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the frozen weights; `auto` takes bf16 where the processor computes in it."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """Weights held in 8 or 4 bits by bitsandbytes."""
    double_quantization: bool = True
    """With `nf4`: hold the scales of the 4-bit blocks in 8 bits too, about 0.4 bits a weight less."""
    pooling: Literal["mean", "cls", "last-token"] = "mean"
    """How the states of a text's tokens become one vector."""
    normalize: bool = True
    """Scale pooled vectors to length 1, as sentence encoders are trained to be used."""
    trust_remote_code: bool = False
    """Run Python code that comes with a Hub model. Leave it off unless you have read that code."""


class FusionSection(Options):
    """How the signals' vectors of a user and of an item are joined: they are added."""

    dim: int = Field(default=32, ge=1, le=4096)
    """Width of each signal's user and item vectors."""


class GroupSection(Options):
    """Learning rate and decay of one group of parameters."""

    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """AdamW's rate at its highest."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=100.0)
    """AdamW's decoupled weight decay: the λ of the model's formula."""


class TrainingSection(Options):
    """The training loop."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    """Passes over the training interactions at most."""
    batching: Literal["random", "by-item"] = "random"
    """`random` shuffles interactions; `by-item` puts all interactions of some items into one batch, so that
    each text is encoded once an epoch."""
    batch_size: int = Field(default=1024, ge=1)
    """Interactions a step (`random`)."""
    items_per_batch: int = Field(default=64, ge=1)
    """Items a step (`by-item`)."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are summed before a step."""
    adapter: GroupSection = GroupSection()
    """Rate and decay of the adapter."""
    embeddings: GroupSection = GroupSection()
    """Rate and decay of U, I, R and the biases."""
    head: GroupSection = GroupSection()
    """Rate and decay of the projections and the head."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Course of the rates after warm-up, over `epochs` epochs."""
    warmup: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of all steps in which the rates rise from zero."""
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    """Largest gradient norm; null for no clipping."""
    average: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of a moving average of the weights, which is then evaluated and kept; 0 for none."""
    adapter_epochs: int | None = Field(default=None, ge=0)
    """Epochs, from the first, in which the adapter is trained; then its vectors are computed once and kept.
    null for all: a pass over all texts is most of an epoch's time, so spend passes where they pay."""
    trunk_mb: int = Field(default=1024, ge=0)
    """Memory allowed for states below the adapted layers, computed once; 0 computes them every time."""
    patience: int | None = Field(default=3, ge=1)
    """Epochs without a better validation figure before training stops; null to run all epochs."""
    refit: bool = True
    """Train again on train + validation for the number of epochs that validation chose."""
    checkpoint_seconds: float = Field(default=30.0, ge=0.0)
    """Least time between two checkpoints; 0 writes one every step."""
    gradient_checkpointing: bool = False
    """Recompute the language model's activations in the backward pass to save memory."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Experiment trackers that receive loss and validation figures."""


class EvaluationSection(Options):
    """What a run reports beside its own figure."""

    ablations: tuple[Literal["text", "collaborative", "graph", "adapter"], ...] = ()
    """Parts to leave out, one further training each."""
    bootstrap: int = Field(default=2000, ge=0, le=100_000)
    """Resamples of the paired intervals; 0 for none."""


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
    config: Options
    """The head's options."""

    @model_validator(mode="before")
    @classmethod
    def _choose(cls, values: Any) -> Any:
        return _chosen("heads", "name", values, "head")

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.config.model_dump(mode="json")}


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
    """The question that is answered."""
    training: TrainingSection = TrainingSection()
    """The training loop."""
    evaluation: EvaluationSection = EvaluationSection()
    """What is reported."""

    def plain(self) -> dict[str, Any]:
        """The recipe as plain values, every default written out."""
        return self.model_dump(mode="json")

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
            registry.get("recipes", recipe.data.reader)
        except ValidationError as error:
            raise InputError(prefix + one_line(error, cls)) from None
        except InputError as error:
            raise InputError(f"{prefix}{error}") from None
        return recipe


def load_recipe(source: str, overrides: Iterable[str] = (), changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe by registered name or YAML path and apply overrides.

    Later wins: the file, then the recipe's ``demo.yaml`` where ``data.path`` is `demo`, then `changes`,
    then `overrides`.

    Args:
        source: Registered name, or path of a YAML file (recognized by its ending or a slash).
        overrides: ``a.b=value`` as typed after ``--set``; the value is YAML.
        changes: Dotted fields and plain values, such as ``{"data.path": "/data"}``.

    Raises:
        InputError: For anything that does not name, parse or validate.
    """
    path = recipe_path(source)
    values = read_yaml(path)
    where = source if path.suffix and "/" not in source and not Path(source).exists() else str(path)
    if not isinstance(values, dict):
        raise InputError(f"{where}: a recipe is a mapping of fields, got {type(values).__name__}")
    edits = [*(changes or {}).items(), *(parse_override(override) for override in overrides)]
    edited = merge({}, values)
    for dotted, value in edits:
        apply_override(edited, dotted, value)
    data = edited.get("data")
    if isinstance(data, dict) and data.get("path") == DEMO and isinstance(data.get("reader"), str):
        overlay = registry.get("recipes", data["reader"]).folder() / "demo.yaml"
        edited = merge(values, read_yaml(overlay))
        for dotted, value in edits:
            apply_override(edited, dotted, value)
    return Recipe.from_plain(edited, where="" if source in registry.plugins("recipes") else where)


def recipe_path(source: str) -> Path:
    """Find the YAML file of a registered name or path.

    Raises:
        InputError: When there is no such file or name.
    """
    if source.endswith((".yaml", ".yml")) or "/" in source:
        path = Path(source)
        if not path.is_file():
            raise InputError(f"no recipe file {source}")
        return path
    folder: Path = registry.get("recipes", source).folder()
    return folder / "recipe.yaml"


def _chosen(kind: str, key: str, values: Any, where: str) -> Any:
    """Split a flat block into the plugin's name and its validated options."""
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a block with {key!r}, got {type(values).__name__}")
    if isinstance(values.get("config"), Options):
        return values
    name = values.get(key)
    if not isinstance(name, str):
        raise InputError(f"{where}.{key}: name one of {', '.join(registry.plugins(kind))}")
    plugin = registry.get(kind, name)
    options = {field: value for field, value in values.items() if field != key}
    return {key: name, "config": validated(plugin.Config, options, where)}
