"""Sections of a recipe that no plugin owns: data, views, backbone, fusion, training, evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from llmrec_peft import registry
from llmrec_peft.errors import nearest
from llmrec_peft.options import Options

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class DataSection(Options):
    """Where the data comes from and how it is divided."""

    reader: str
    """Registered reader of the files; several recipes can name one."""
    path: str | None = None
    """Folder in its owner's layout, or `demo` for a small made-up set. On the command line: --data."""
    graph: str | None = None
    """Folder with knowledge-graph triples and item links; without it the graph signal is off."""
    split: Literal["official", "random", "temporal", "leave-last-out", "cold-item", "cold-user"] = "official"
    """How test interactions are chosen; `cold-item` and `cold-user` hold whole items or users out of training."""
    test_fraction: Fraction = 0.2
    """Share of interactions (of items for `cold-item`) in the test part, where the split is ours."""
    valid_fraction: Fraction = 0.1
    """Share of what remains for training that is held out for validation, by the same kind of split."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the division, apart from `seed` so that runs of several seeds share one division."""
    max_items: int | None = Field(default=None, ge=1)
    """Items kept at most, drawn by `split_seed`, with their interactions; null for all."""
    train_size: Annotated[int, Field(ge=2)] | Literal["all"] = "all"
    """Training interactions kept, drawn by `seed`, or `all`. Validation and test stay whole."""
    history: Literal["auto", "given", "earlier"] = "auto"
    """Where signals that read a history find it: `given` by the owner in each record, or what the user met
    `earlier` among the interactions that may be known; `auto` takes the owner's where there is one."""
    expand_histories: bool = False
    """Whether labelled entries of given histories become training examples of their own: each is left out of its
    history, and the record's own item put in."""
    history_length: int = Field(default=50, ge=1, le=1000)
    """Entries kept of a history, the newest."""
    liked_above: float | None = None
    """Labels above it count as liked in texts that tell a history; null for the middle of the owner's scale."""
    protocol: Literal["train", "train+valid", "prequential"] = "train+valid"
    """Whose labels may be counted when test is predicted: those of `train`; of validation too (in histories always,
    in weights and counts where `training.refit` says so); or of every interaction before the one that is predicted."""
    allow_leakage: bool = False
    """Go on although the leakage check found test examples among what is learnt from."""


class ItemView(Options):
    """How one text is made of an item's columns."""

    template: str = Field(min_length=1)
    """Jinja2 template over the columns of the items table, such as `{{ title }} ({{ year }})`."""
    max_length: int = Field(default=48, ge=4, le=8192)
    """Tokens kept of a text."""
    variants: tuple[str, ...] = ()
    """Further templates, of which training draws one for each item and epoch; the first one scores."""


class PromptView(Options):
    """How one text is made of a user's history and a candidate item."""

    template: str = Field(min_length=1)
    """Jinja2 template over `item`, `user` and `history`, whose entries have `title`, `rating` and `liked`."""
    max_length: int = Field(default=512, ge=16, le=8192)
    """Tokens of a prompt; a longer one loses the oldest entries of its history."""
    chat: bool = True
    """Whether a decoder that has a chat template gets the prompt as a user's message."""


class ViewsSection(Options):
    """The texts that the language model reads."""

    item: ItemView
    """Text of an item."""
    user: PromptView | None = None
    """Text of a user: a template over `user` (columns of the users table) and `history`."""
    prompt: PromptView | None = None
    """Text of an example, for heads that feed history and candidate to the language model as one."""


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
    """How the signals' vectors of a user and of an item are joined."""

    kind: Literal["sum", "mlp", "gated", "late"] = "sum"
    """`sum` adds them; `mlp` puts them side by side through a small network; `gated` adds them with a learnt
    weight for each signal and side; `late` adds the scores that each signal gives by itself, with weights
    that validation chooses."""
    dim: int = Field(default=32, ge=1, le=4096)
    """Width of each signal's user and item vectors."""
    hidden: int = Field(default=64, ge=1, le=8192)
    """Width of the network's hidden layer (`mlp`)."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout inside the network (`mlp`)."""
    signal_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a whole signal is left out for an example while training, so that the others learn to do
    without it: what a new item needs."""


class GroupSection(Options):
    """Learning rate and decay of one group of parameters."""

    learning_rate: float = Field(default=1e-3, gt=0.0, le=10.0)
    """AdamW's rate at its highest."""
    weight_decay: float = Field(default=0.0, ge=0.0, le=100.0)
    """AdamW's decoupled weight decay: the λ of the model's formula."""


class AugmentSection(Options):
    """Changes made to training examples."""

    history_mask: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that an entry of a history is hidden."""
    history_crop: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a history is cut to a random stretch of its newest entries."""
    history_empty: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a whole history is hidden, so that new users work."""
    history_stale: float = Field(default=0.0, ge=0.0, le=1.0)
    """Chance that the newest entries of a history are hidden, any number of them: what is predicted lies further
    from what is known than training examples do."""
    word_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Chance that a token of an item's text is left out."""
    mixup: float = Field(default=0.0, ge=0.0, le=10.0)
    """Parameter α of the Beta distribution by which a batch's vectors and labels are mixed; 0 for none. Only for
    ratings and clicks."""


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
    newest: int | None = Field(default=None, ge=1)
    """Training interactions of each user that are examples, the newest; null for all. With `adapter_epochs` this
    begins once the adapter stands still. The others are still known: they stand in histories and counts."""
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
    refit: bool | Literal["recount"] = True
    """Train again on train + validation for the number of epochs that validation chose; `recount` keeps the weights
    and takes validation into what is counted alone (popularity, rates, rating histories)."""
    validate_on: int | None = Field(default=None, ge=1)
    """Validation examples, drawn once, on which epochs are chosen; null for all. Reports are on all of them."""
    checkpoint_seconds: float = Field(default=30.0, ge=0.0)
    """Least time between two checkpoints; 0 writes one every step."""
    gradient_checkpointing: bool = False
    """Recompute the language model's activations in the backward pass to save memory."""
    other_texts: Literal["fresh", "stored"] = "fresh"
    """How an adapter in training reads texts of histories: encoded anew in each step, with gradient, or as they were
    when last encoded. Stored, with batches by item, an epoch encodes each text once, however long histories are;
    while the adapter is trained, a batch's own items are then the only candidates."""
    augment: AugmentSection = AugmentSection()
    """Changes made to training examples."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Experiment trackers that receive loss and validation figures."""


class EvaluationSection(Options):
    """What a run reports beside its own figure."""

    ablations: tuple[str, ...] = ()
    """Parts to leave out, one further training each: names of signals, or `adapter`."""
    collaborative_only: bool = True
    """Whether rankings and clicks also train the recipe without texts, as the line that a language model has
    to beat; ratings have biased matrix factorization for it."""
    blend: bool = True
    """Whether the best trivial line is also added to the model's score, with a weight that validation chooses."""
    own_items: bool = True
    """Whether items that the user had met before are ranked too (rankings)."""
    sampled: int | None = Field(default=None, ge=1)
    """Also report ranks among so many random items, marked as such; null for the full catalogue alone."""

    bootstrap: int = Field(default=2000, ge=0, le=100_000)
    """Resamples of the paired intervals; 0 for none."""

    @field_validator("ablations")
    @classmethod
    def _known(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        known = ("adapter", *registry.plugins("signals"))
        for part in parts:
            if part not in known:
                raise ValueError(f"{part!r} is no part of a recipe: {nearest(part, known)}")
        return parts
