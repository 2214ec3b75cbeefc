"""Matrix: the cells of a benchmark as YAML describes them: what varies, what is set, what is left out.

    name: methods                       # of the report
    recipes:                            # names, files, or blocks with data and settings of their own
      - {recipe: ../examples/movies-cold-items.yaml, data: ml-100k}
    backbones: [minilm, smollm2]
    adapters: [none, lora, {method: lora, rank: 32, label: lora rank 32}]
    precisions: [bf16]                  # auto, fp32, bf16, int8, nf4
    seeds: [1, 2, 3]
    set: {training.epochs: 3}           # dotted fields of every recipe
    adapter_set: {layers: top-2}        # options of every adapter that has them
    rules:                              # later rules win; a list matches any of its values, * any text
      - when: {backbone: smollm2}
        set: {data.max_items: 500}
        adapter_set: {layers: top-4}
        seeds: [1]
    exclude:
      - {backbone: smollm2, adapter: full}
    limits: {seconds: 900, memory_gb: 12}

A cell's recipe is the recipe's file, then its own `set`, then `set`, then the rules that match, then the cell's
backbone, adapter, precision and seed. A recipe's own adapter block is replaced whole.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.options import Options, one_line

AXES = ("recipe", "backbone", "adapter", "precision", "seed")
"""What a cell is told apart by, in the order of the report."""
Precision = Literal["auto", "fp32", "bf16", "int8", "nf4"]
Condition = dict[Literal["recipe", "backbone", "adapter", "precision", "seed"], Any]


class RecipeChoice(Options):
    """A recipe with its data and settings."""

    recipe: str
    """Registered name, or YAML file (beside the matrix, or as seen from here)."""
    label: str = ""
    """What it is called in the report; the recipe's own name by default."""
    data: str | None = None
    """Folder below --data, or `demo`; the recipe's own `data.path` by default."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted fields and values for this recipe alone."""
    slice: Literal["items_with_0_ratings", "items_with_1_to_5_ratings", "items_with_over_5_ratings"] | None = None
    """Test accuracy of these items alone; of the whole test part by default."""


class AdapterChoice(Options):
    """An adapter method with options."""

    method: str
    """Registered adapter method."""
    label: str
    """What it is called in the report."""
    options: dict[str, Any]
    """The method's options."""

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, values: Any) -> Any:
        """Accept a bare name, and options beside the name."""
        if isinstance(values, str):
            return {"method": values, "label": values, "options": {}}
        if not isinstance(values, dict) or not isinstance(values.get("method"), str):
            raise ValueError("an adapter is a name, or a block with `method` and its options")
        if set(values) == {"method", "label", "options"}:
            return values
        options = {key: value for key, value in values.items() if key not in ("method", "label")}
        said = " ".join([values["method"], *(f"{key}={value}" for key, value in options.items())])
        return {"method": values["method"], "label": values.get("label", said), "options": options}


class Limits(Options):
    """What a cell may take before it is stopped."""

    seconds: float = Field(default=900.0, gt=0.0)
    """Wall-clock time."""
    memory_gb: float = Field(default=12.0, gt=0.0)
    """Resident memory of the cell's processes together, in GiB."""


class Timing(Options):
    """How latencies are measured."""

    texts: int = Field(default=64, ge=1, le=4096)
    """Texts of a step."""
    repeats: int = Field(default=20, ge=2, le=10_000)
    """Repetitions at most."""
    seconds: float = Field(default=10.0, gt=0.0)
    """Time after which no further repetition of a measurement begins; five are made in any case."""
    pairs: int = Field(default=1000, ge=1)
    """Known pairs that are scored at once."""


class Rule(Options):
    """Settings of the cells that match."""

    when: Condition
    """Axes and the values that match: a value, or a list of them; `*` stands for any text."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted fields and values."""
    adapter_set: dict[str, Any] = Field(default_factory=dict)
    """Options of every adapter that has them."""
    seeds: tuple[int, ...] | None = None
    """Seeds of these cells, of those that the matrix lists."""
    limits: Limits | None = None
    """Limits of these cells."""
    timing: Timing | None = None
    """Timing of these cells."""


class Matrix(Options):
    """Everything that decides what a benchmark measures."""

    name: str = Field(min_length=1, max_length=96, pattern=r"^[\w][\w .\-]*$")
    """What the benchmark is called in its report."""
    description: str = ""
    """One or two sentences for the report."""
    recipes: tuple[RecipeChoice, ...] = Field(min_length=1)
    """Recipes."""
    backbones: tuple[str, ...] = Field(min_length=1)
    """Aliases, folders or Hub ids."""
    adapters: tuple[AdapterChoice, ...] = Field(min_length=1)
    """Adapter methods."""
    precisions: tuple[Precision, ...] = ("auto",)
    """Number formats of the frozen weights; int8 and nf4 compute in what `backbone.precision` says."""
    seeds: tuple[int, ...] = Field(default=(1,), min_length=1)
    """Seeds of initial values, batch order and dropout."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted fields and values of every cell's recipe."""
    adapter_set: dict[str, Any] = Field(default_factory=dict)
    """Options of every adapter that has them."""
    rules: tuple[Rule, ...] = ()
    """Settings of some cells."""
    exclude: tuple[Condition, ...] = ()
    """Cells that are left out."""
    limits: Limits = Limits()
    """Limits of a cell."""
    timing: Timing = Timing()
    """How latencies are measured."""

    @model_validator(mode="before")
    @classmethod
    def _names(cls, values: Any) -> Any:
        """Accept a recipe's bare name."""
        if isinstance(values, dict) and isinstance(values.get("recipes"), list | tuple):
            blocks = [{"recipe": one} if isinstance(one, str) else one for one in values["recipes"]]
            return {**values, "recipes": blocks}
        return values

    @classmethod
    def from_plain(cls, values: Any, where: str) -> Self:
        """Validate plain values.

        Raises:
            InputError: One line that names the file and the field.
        """
        if not isinstance(values, dict):
            raise InputError(f"{where}: a matrix is a mapping of fields, got {type(values).__name__}")
        try:
            matrix = cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{where}: {one_line(error, cls)}") from None
        for choice in matrix.adapters:
            try:
                registry.get("adapters", choice.method)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        return matrix
