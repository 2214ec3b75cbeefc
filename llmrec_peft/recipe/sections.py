"""Sections of a recipe that no plugin owns: data, views, backbone, fusion, training, evaluation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from llmrec_peft import registry
from llmrec_peft.errors import InputError, nearest
from llmrec_peft.options import Options, validated
from llmrec_peft.printable import quoted

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


def _readable(template: str) -> str:
    from llmrec_peft.recipe.templates import compiled  # Jinja2 is not needed to list what is installed

    compiled(template)
    return template


TextTemplate = Annotated[str, Field(min_length=1), AfterValidator(_readable)]
"""A template that was checked, so that a recipe that loads can be rendered."""


LeakKind = Literal[
    "same_pair", "reversed_pair", "same_history", "own_item", "same_text", "title_in_text", "late_training"
]
"""Kinds of leaks: a user and an item, two people the other way round, or a history and an item, that are learnt from as
well; an item, or one of the same text, in its own history; its title in the user's text; training that goes on after
the first test interaction."""


class DataSection(Options):
    """Where the data comes from and how it is divided."""

    reader: str
    """Registered reader of the files; several recipes can name one."""
    path: str | None = None
    """Folder in its owner's layout, or `demo` for a small made-up set. On the command line: --data."""
    options: SerializeAsAny[Options] | None = None
    """What the reader has to be told of the files, if anything (`llmrec show reader NAME`); null for its defaults."""
    graph: str | None = None
    """Folder with knowledge-graph triples and links of items to entities; without it the graph signal is off."""
    split: Literal["official", "random", "temporal", "leave-last-out", "cold-item", "cold-user"] = "official"
    """How test interactions are chosen; `cold-item` and `cold-user` leave whole items or users out of training."""
    test_fraction: Fraction = 0.2
    """Share of interactions (for `cold-item` of items) in the test part, where the owner publishes no split."""
    valid_fraction: Fraction = 0.1
    """Share of the remaining training interactions that becomes the validation part, by the same kind of split."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the split, apart from `seed` so that runs of several seeds share one split."""
    max_items: int | None = Field(default=None, ge=1)
    """Items kept at most, drawn by `split_seed`, with their interactions; null for all."""
    train_size: Annotated[int, Field(ge=2)] | Literal["all"] = "all"
    """Training interactions kept, drawn by `seed`, or `all`. Validation and test stay whole."""
    history: Literal["auto", "given", "earlier"] = "auto"
    """Where a user's history comes from: `given` by the owner in each record, or the user's `earlier` interactions
    among those that may be known; `auto` takes the owner's where there is one."""
    expand_histories: bool = False
    """Whether labelled entries of given histories become training examples too: the entry is removed from its history
    and the record's own item is added to it."""
    history_length: int = Field(default=50, ge=1, le=1000)
    """Largest number of entries of a history; the newest are kept."""
    liked_above: float | None = None
    """Labels above it count as liked in texts that list a history; null for the middle of the owner's scale."""
    protocol: Literal["train", "train+valid", "prequential"] = "train+valid"
    """Labels that may be used when the test part is predicted: those of `train`; those of validation too (in histories
    always, in weights and counts if `training.refit` allows); or those of all interactions before the predicted one."""
    allow_leakage: bool | tuple[LeakKind, ...] = False
    """Continue although the leakage check found examples that are given away: `true` whatever it found, or the kinds
    that are let pass: `same_pair`, `reversed_pair`, `same_history`, `own_item`, `same_text`, `title_in_text`,
    `late_training`."""
    items_are_users: bool = False
    """Whether items are people, so that nobody is recommended to himself. The reader says so; a training writes it
    here."""

    @field_validator("allow_leakage", mode="before")
    @classmethod
    def _known_leaks(cls, value: Any) -> Any:
        for name in value if isinstance(value, list | tuple) else ():
            if name not in get_args(LeakKind):
                raise ValueError(f"{quoted(name)} is no kind of leak: {nearest(str(name), get_args(LeakKind))}")
        if not isinstance(value, bool | list | tuple):
            raise ValueError(f"{quoted(value)} is neither true, false nor a list of {', '.join(get_args(LeakKind))}")
        return value

    def lets_pass(self, leak: LeakKind) -> bool:
        """Return whether leaks of a kind are let pass."""
        return self.allow_leakage if isinstance(self.allow_leakage, bool) else leak in self.allow_leakage

    @model_validator(mode="before")
    @classmethod
    def _options_of_reader(cls, values: Any) -> Any:
        """Validate `options` as those of the reader."""
        if not isinstance(values, dict) or values.get("options") is None or isinstance(values["options"], Options):
            return values
        config = getattr(registry.get("readers", str(values.get("reader"))), "Config", Options)
        if not config.model_fields and values["options"] == {}:
            return {**values, "options": None}
        if not config.model_fields:
            raise InputError(f"data.options: reader {values.get('reader')!r} has no options")
        return {**values, "options": validated(config, values["options"], "data.options")}

    @model_serializer(mode="wrap")
    def _without_defaults(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what most recipes have not: options of the reader, people as items."""
        usual = {"options": None, "items_are_users": False}
        return {name: value for name, value in plain(self).items() if name not in usual or value != usual[name]}


class ItemView(Options):
    """How an item's columns become one text."""

    template: TextTemplate
    """Jinja2 template over the columns of the items table, such as `{{ title }} ({{ year }})`."""
    max_length: int = Field(default=48, ge=4, le=8192)
    """Largest number of tokens of a text; the rest is cut off."""
    variants: tuple[TextTemplate, ...] = ()
    """Further text variants: training draws a template for each item and epoch; scores always use `template`."""


class PromptView(Options):
    """How a user's history and a candidate item become one text."""

    template: TextTemplate
    """Jinja2 template over `item`, `user` and `history`, whose entries have `title`, `rating` and `liked`."""
    max_length: int = Field(default=512, ge=16, le=8192)
    """Largest number of tokens of a prompt; a longer one loses the oldest entries of its history."""
    chat: bool = True
    """Whether the prompt is formatted as a user's message, for decoders that have a chat template."""


class ViewsSection(Options):
    """The texts that the language model reads."""

    item: ItemView
    """Text of an item."""
    user: PromptView | None = None
    """Text of a user: a template over `user` (columns of the users table) and `history`."""
    prompt: PromptView | None = None
    """Text of an example, for heads that give history and candidate to the language model as one text."""


class PromptsByView(Options):
    """A text for each kind of texts that the language model reads."""

    item: str | None = Field(default=None, max_length=4000)
    """For items' texts (`views.item`)."""
    user: str | None = Field(default=None, max_length=4000)
    """For users' texts (`views.user`)."""
    prompt: str | None = Field(default=None, max_length=4000)
    """For examples' prompts (`views.prompt`); the model's own files have none for them."""


class BackboneSection(Options):
    """The frozen language model."""

    name: str = "minilm"
    """Registered alias, local folder, or Hub id."""
    revision: str | None = None
    """Commit of a Hub id; required for one (a branch name moves). An alias brings its own."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the frozen weights; `auto` takes bf16 where the processor computes in it."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """Load the weights in 8 or 4 bits with bitsandbytes."""
    double_quantization: bool = True
    """With `nf4`: store the scales of the 4-bit blocks in 8 bits, which saves about 0.4 bits a weight."""
    pooling: Literal["auto", "mean", "cls", "last-token", "max", "mean-sqrt", "weighted-mean"] = "auto"
    """How the hidden states of a text's tokens become one vector. `auto` follows the model's own files
    (sentence-transformers' `modules.json`); where there are none it is `mean`. A decoder's last token has read the
    whole text."""
    normalize: Literal["auto"] | bool = "auto"
    """Whether vectors are scaled to length 1. `auto` follows the model's own files; where there are none they are."""
    prompts: PromptsByView = PromptsByView()
    """Text put before each text of a view, such as `passage: ` before items and `query: ` before users; null for what
    the model's own files say, an empty text for none."""
    prompt_names: PromptsByView = PromptsByView()
    """Name of the prompt in the model's own files; null for `document`, `passage` or `corpus` before items, `query`
    before users, and else the files' default."""
    trust_remote_code: bool = False
    """Ask to run Python code that comes with the model; every command refuses that without `--trust-remote-code`. Read
    that code first."""


class FusionSection(Options):
    """How the signals' vectors of a user and of an item are joined."""

    kind: Literal["sum", "mlp", "gated", "late"] = "sum"
    """`sum` adds them; `mlp` concatenates them and applies a small network; `gated` adds them with a learnt weight
    for each signal and side; `late` adds the scores of the single signals, with weights chosen on validation."""
    dim: int = Field(default=32, ge=1, le=4096)
    """Width of each signal's user and item vectors."""
    hidden: int = Field(default=64, ge=1, le=8192)
    """Width of the network's hidden layer (`mlp`)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout inside the network (`mlp`)."""
    signal_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a whole signal is left out of a training example, so that the model also works without it, as for
    a new item."""


class GroupSection(Options):
    """Learning rate and weight decay of one group of parameters."""

    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """Highest learning rate of AdamW."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=100.0)
    """AdamW's decoupled weight decay: the λ of the model's formula."""


class AugmentSection(Options):
    """Random changes of training examples."""

    history_mask: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that an entry of a history is hidden."""
    history_crop: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a history is cut to a random stretch of its newest entries."""
    history_empty: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a whole history is hidden, so that the model also works for new users."""
    history_stale: float = Field(default=0.0, ge=0.0, le=1.0)
    """Chance that a random number of the newest entries of a history is hidden: test examples lie further in time from
    their known history than training examples do."""
    word_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a token of an item's text is left out."""
    mixup: float = Field(default=0.0, ge=0.0, le=10.0)
    """Parameter α of the Beta distribution by which a batch's vectors and labels are mixed; 0 for none. Only for
    ratings and clicks."""


class TrainingSection(Options):
    """The training loop."""

    epochs: int = Field(default=10, ge=1, le=100_000)
    """Passes over the training interactions at most."""
    batching: Literal["random", "by-item", "by-user"] = "random"
    """`random` shuffles interactions. `by-item` puts all interactions of some items into one batch, so that each text
    is encoded once an epoch. `by-user` trains on whole sequences while the adapter is trained: all interactions of some
    users are one batch, in which the item of one example stands in the history of the next and is encoded once for
    both, and a batch's own items are the only candidates; with `adapter_epochs` later epochs are shuffled."""
    batch_size: int = Field(default=1024, ge=1)
    """Interactions a step (`random`)."""
    items_per_batch: int = Field(default=64, ge=1)
    """Items a step (`by-item`)."""
    users_per_batch: int = Field(default=32, ge=1)
    """Users a step (`by-user`)."""
    newest: int | None = Field(default=None, ge=1)
    """Number of each user's newest training interactions that are training examples; null for all. With
    `adapter_epochs` this applies after the adapter is frozen. The others still count in histories and counts."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are summed before a step."""
    adapter: GroupSection = GroupSection()
    """Rate and decay of the adapter."""
    embeddings: GroupSection = GroupSection()
    """Rate and decay of U, I, R and the biases."""
    head: GroupSection = GroupSection()
    """Rate and decay of the projections and the head."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rates change after warm-up, over `epochs` epochs."""
    warmup: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of all steps in which the learning rates rise from zero."""
    clip_norm: float | None = Field(default=1.0, gt=0.0)
    """Largest gradient norm; null for no clipping."""
    average: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of a moving average of the weights, which is evaluated and saved in their place; 0 for none."""
    adapter_epochs: int | None = Field(default=None, ge=0)
    """Number of first epochs in which the adapter is trained; then it is frozen and its vectors are computed once.
    null for all epochs. A pass over all texts takes most of an epoch's time."""
    trunk_mb: int = Field(default=1024, ge=0)
    """Memory in MB for the hidden states below the adapted layers, computed once; 0 computes them in every step."""
    patience: int | None = Field(default=3, ge=1)
    """Number of epochs without a better validation metric after which training stops; null for all epochs."""
    refit: bool | Literal["recount"] = True
    """Train again on train + validation for the number of epochs chosen on validation; `recount` keeps the weights and
    adds validation only to counts (popularity, rates, rating histories)."""
    choice: Literal["auto", "validation", "folds"] = "auto"
    """How epochs and the model that answers are chosen. `validation`: epochs by the validation part; the tuned model
    answers. `folds`: by cross-validation over training + validation, among the best simple baseline, the frozen and
    the tuned model and their blends, the simpler one where the data cannot tell; what is chosen answers. `auto` takes
    `folds` where validation has fewer than 2,000 ratings or clicks; else the tuned model answers, with a share of a
    baseline where that helps on validation (`evaluation.blend: false` leaves it out)."""
    validate_on: int | None = Field(default=None, ge=1)
    """Number of validation examples, drawn once, on which the epoch is chosen; null for all. Reports use all."""
    checkpoint_seconds: float = Field(default=30.0, ge=0.0)
    """Least time in seconds between two checkpoints; 0 writes one every step."""
    gradient_checkpointing: bool = False
    """Recompute the language model's activations in the backward pass to save memory."""
    other_texts: Literal["fresh", "stored"] = "fresh"
    """Vectors of the texts of histories while the adapter is trained. `fresh`: re-encode them in every step, with
    gradient. `stored`: use each text's most recent vector, without gradient; with `batching: by-item` an epoch then
    encodes each text once, however long histories are, and a batch's own items are the only candidates."""
    augment: AugmentSection = AugmentSection()
    """Changes made to training examples."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Experiment trackers that receive the loss and the validation metrics."""

    @model_validator(mode="after")
    def _whole_sequences(self) -> TrainingSection:
        """Refuse what would leave nothing of whole sequences without a word."""
        if self.batching == "by-user" and self.newest is not None and self.adapter_epochs is None:
            raise ValueError(
                "batching: by-user trains on whole sequences, and newest keeps parts of them: set adapter_epochs, after"
                " which newest applies"
            )
        if self.batching == "by-user" and self.other_texts == "stored":
            raise ValueError("batching: by-user encodes the texts of histories, and other_texts: stored does not")
        return self


class ServedSection(Options):
    """What a run answers with. A training writes it into the run's recipe; in a recipe to be trained it is not read."""

    variant: Literal["tuned", "frozen", "collaborative_only"] = "tuned"
    """Whose parts the run folder holds: of the recipe as it is, of frozen text, or of the recipe without text."""
    share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the baseline in every score; 1 for the baseline alone."""
    baseline: str | None = Field(default=None, max_length=64)
    """Name of the baseline."""
    settings: dict[Annotated[str, Field(max_length=64)], float] = Field(default={}, max_length=16)
    """Its settings."""

    @model_validator(mode="after")
    def _whole(self) -> ServedSection:
        """Refuse a share of nothing, and a baseline without a share: reports would tell what no score has."""
        if (self.baseline is None) != (self.share == 0.0):
            raise ValueError("a baseline has a share above 0, and a share has a baseline")
        return self


class EvaluationSection(Options):
    """What a run reports beside its own metrics."""

    ablations: tuple[str, ...] = ()
    """Parts to leave out, one further training each: names of signals, or `adapter`."""
    collaborative_only: bool = True
    """Whether rankings and clicks also train the recipe without texts, as the baseline that a language model has to
    beat; ratings have biased matrix factorization for that."""
    blend: bool = True
    """Whether the model's score is also blended with the best baseline, with a weight chosen on validation."""
    own_items: bool = True
    """Whether items of the user's history are ranked too (rankings)."""
    sampled: int | None = Field(default=None, ge=1)
    """Also report metrics over this many random items, marked as such; null for only the full catalogue."""
    bootstrap: int = Field(default=2000, ge=0, le=100_000)
    """Number of resamples of the paired bootstrap intervals; 0 for none."""

    @field_validator("ablations")
    @classmethod
    def _known(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        known = ("adapter", *registry.plugins("signals"))
        for part in parts:
            if part not in known:
                raise ValueError(f"{part!r} is no part of a recipe: {nearest(part, known)}")
        return parts
