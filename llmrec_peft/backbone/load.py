"""Load a language model frozen, in the precision and quantization that a recipe asks for."""

from __future__ import annotations

import inspect
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from llmrec_peft.backbone.bare import BareTree
from llmrec_peft.backbone.base import BaseIdentity
from llmrec_peft.backbone.base_files import CONFIG, read_config
from llmrec_peft.backbone.base_weights import stored_sizes, weight_files
from llmrec_peft.backbone.complete import load_complete, require_parts, require_sizes
from llmrec_peft.backbone.embedding_model import EmbeddingModel, read_embedding_model
from llmrec_peft.backbone.facts import BackboneFacts, facts_of_config
from llmrec_peft.backbone.locate import Location, locate
from llmrec_peft.backbone.precision import resolve_precision
from llmrec_peft.backbone.preflight import require_config, require_pooling
from llmrec_peft.backbone.quiet import quiet_notices, quiet_transformers, refused_in_one_line
from llmrec_peft.backbone.remote_code import decided
from llmrec_peft.backbone.shapes import ModelShapes, shapes_of
from llmrec_peft.backbone.tokenizer import embedded_rows, load_tokenizer, require_embedded, require_rows
from llmrec_peft.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from llmrec_peft.backbone.dense import DenseLayers
    from llmrec_peft.backbone.text_reader import TextReader
    from llmrec_peft.recipe.sections import BackboneSection

quiet_notices()  # before peft or transformers import it


@dataclass
class Backbone:
    """A frozen language model with its tokenizer.

    Attributes:
        model: The bare transformer, without a task head, all parameters frozen, in evaluation mode.
        tokenizer: Its tokenizer.
        identity: Its identity.
        kind: Encoder or decoder.
        width: Size of a token's state.
        depth: Number of transformer layers.
        folder: Folder of its files.
        embedding_model: What the files of an embedding model say; None for other models.
        dense: Linear layers of an embedding model after pooling, frozen.
    """

    model: nn.Module
    tokenizer: Any
    identity: BaseIdentity
    kind: Literal["encoder", "decoder"]
    width: int
    depth: int
    folder: Path | None = None
    embedding_model: EmbeddingModel | None = None
    dense: DenseLayers | None = None

    def __post_init__(self) -> None:
        self._bare = BareTree(self.model)
        self._embedded = embedded_rows(self.model)  # before an adapter may wrap the embedding

    def reads(self, section: BackboneSection) -> TextReader:
        """Return how a recipe reads texts by this model: what changes a text's vector besides weights.

        Raises:
            InputError: For a prompt that is not there, or a pooling that cannot work.
        """
        from llmrec_peft.backbone.text_reader import text_reader

        return text_reader(self, section)

    @cached_property
    def shapes(self) -> ModelShapes:
        """Names and sizes of the bare transformer's modules."""
        return shapes_of(self.model)

    @property
    def facts(self) -> BackboneFacts:
        """Facts that the model's configuration states."""
        biased = any(module.bias for module in self.shapes.modules if module.layer is not None)
        return BackboneFacts(self.shapes.model_type, self.kind, self.width, self.depth, biased)

    def detach(self) -> None:
        """Remove the adapter that is inside, if any: the bare transformer is as it was loaded."""
        self._bare.restore()

    def enable_gradient_checkpointing(self) -> None:
        """Let each layer recompute its activations in the backward pass instead of keeping them.

        The reentrant variant gives no gradient if a layer's input needs none, as below an adapter; `detach` switches
        checkpointing off again.

        Raises:
            InputError: If the model's code does not support it.
        """
        if not getattr(self.model, "supports_gradient_checkpointing", False):
            raise InputError(
                f"training.gradient_checkpointing: {type(self.model).__name__} cannot recompute its layers"
            )
        self.model.config.use_cache = False  # type: ignore[union-attr] # nothing is generated; it would only warn
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing_enable.*", category=FutureWarning)
            self.model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    def tokenize(self, texts: list[str], max_length: int | None, special: bool = True) -> list[list[int]]:
        """Return token ids of texts, cut to `max_length` if it is given.

        Args:
            texts: Texts to tokenize.
            max_length: Tokens kept per text.
            special: Whether the tokenizer's special tokens are added; a chat format has its own.

        Raises:
            InputError: If a text, cut to `max_length`, is longer than the model's window, or has a token that the model
                does not embed.
        """
        cut = max_length is not None
        with quiet_transformers():  # the caller reports a text over the window if it may not cut it
            encoding = self.tokenizer(texts, truncation=cut, max_length=max_length, add_special_tokens=special)
        rows: list[list[int]] = encoding["input_ids"]
        require_rows(rows, self._embedded, self.identity.name)
        longest = max(map(len, rows), default=0)
        if cut and longest > self.window:
            raise InputError(
                f"views.item.max_length: a text takes {longest} tokens, over the {self.window} that"
                f" {self.identity.name} reads at once"
            )
        return [row or [self.pad_id] for row in rows]

    @property
    def window(self) -> int:
        """Tokens that the model can read at once.

        RoBERTa and its kin number positions from behind the padding's, so that a text gets fewer than the table has.
        """
        return self._window

    @cached_property
    def _window(self) -> int:
        from torch import nn

        window = int(getattr(self.model.config, "max_position_embeddings", None) or 1 << 30)
        for name, module in self.model.named_modules():
            reserved = getattr(module, "padding_idx", None)
            if isinstance(module, nn.Embedding) and reserved is not None and "position" in name.rpartition(".")[2]:
                window = min(window, module.num_embeddings - reserved - 1)
        return window

    @property
    def chats(self) -> bool:
        """Whether the model is a decoder with a chat format; an embedding model has one left over, if any."""
        return (
            self.kind == "decoder"
            and self.embedding_model is None
            and bool(getattr(self.tokenizer, "chat_template", None))
        )

    def chat(self, text: str) -> str:
        """Return a text as a user's message, up to where the model's answer begins."""
        messages = [{"role": "user", "content": text}]
        wrapped: str = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return wrapped

    @property
    def token_size(self) -> tuple[int, float]:
        """Width of a token's embedding at the model's input, and the usual norm: the median of some thousand."""
        import torch

        embed = self.model.get_input_embeddings()  # type: ignore[operator]
        count = int(embed.num_embeddings)
        some = torch.arange(0, count, max(1, count // 4096), device=self.device)
        with torch.no_grad():
            vectors = embed(some).float()
        return int(vectors.shape[1]), float(vectors.norm(dim=1).median())

    @property
    def pad_id(self) -> int:
        """Token id used for padding; masked, so any id serves where the tokenizer has none."""
        pad, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        return next((int(one) for one in (pad, end) if one is not None and one < self._embedded), 0)


def load_backbone(section: BackboneSection, device: torch.device) -> Backbone:
    """Locate, verify and load a language model for training small modules inside it.

    Raises:
        InputError: If it cannot be found, is not the expected one, asks to run code that nobody allowed, or cannot be
            quantized here.
    """
    import torch
    from transformers import AutoModel

    from llmrec_peft.backbone.dense import load_dense
    from llmrec_peft.backbone.text_reader import lower_cased

    location = locate(section.name, section.revision)
    files = read_embedding_model(location.folder)
    dtype = resolve_precision(section.precision, device)
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
    if section.quantization != "none":
        options["quantization_config"] = _quantization(section, dtype)
        options["device_map"] = {"": str(device)}
    remote = decided(section)
    with quiet_transformers(), refused_in_one_line(f"backbone {section.name}"):
        tensors, stored = stored_sizes(weight_files(location.folder))
        config, facts, parts = bare_config(location.folder, section.name, remote, tensors)
        require_pooling(section.pooling, facts)
        require_config(read_config(location.folder / CONFIG), section)
        options |= {"config": config, "trust_remote_code": remote, **parts}
        if not remote:
            with _uninitialized(), torch.device("meta"):
                require_sizes(AutoModel.from_config(config, **parts), stored, section.name)
        model = load_complete(AutoModel, location.folder, section.name, **options)
        tokenizer = load_tokenizer(location.folder, remote)
        require_embedded(tokenizer, embedded_rows(model), section.name)
    if section.quantization == "none":
        model.to(device)
    _keep_trainable_on_cpu(model)
    model.requires_grad_(False)
    model.eval()
    if files is not None and files.lower_case:
        lower_cased(tokenizer)
    dense = load_dense(location.folder, () if files is None else files.dense, facts.width)
    backbone = Backbone(
        model=model,
        tokenizer=tokenizer,
        identity=_identity(location, section, compute="bf16" if dtype == torch.bfloat16 else "fp32"),
        kind=facts.kind,
        width=facts.width,
        depth=facts.depth,
        folder=location.folder,
        embedding_model=files,
        dense=None if dense is None else dense.to(device),
    )
    backbone.reads(section)  # refuses what cannot work before anything is computed
    return backbone


def _identity(location: Location, section: BackboneSection, compute: str) -> BaseIdentity:
    doubly = section.quantization == "nf4" and section.double_quantization
    held = "nf4-double" if doubly else section.quantization
    return BaseIdentity(location.name, location.revision, location.weights_sha256, held, compute, location.files)


def bare_config(
    folder: Path, name: str, remote: bool = False, tensors: int | None = None
) -> tuple[Any, BackboneFacts, dict[str, Any]]:
    """Return a model's configuration for a bare transformer in training, without caches and poolers.

    Args:
        folder: Where ``config.json`` lies.
        name: Name of the backbone, for messages.
        remote: Whether Python code that comes with the model may run.
        tensors: Number of tensors in its weight files; None where they are not read.

    Returns:
        The configuration, its facts, and further arguments for `AutoModel`.

    Raises:
        InputError: If it states no width and depth, or more layers than the files can hold.
    """
    from transformers import AutoConfig

    stated = read_config(folder / CONFIG)
    claimed = facts_of_config(stated)
    if claimed is not None:  # before the configuration's class makes lists as long as the model is deep
        require_parts(stated, claimed.depth, tensors, name)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=remote)
    facts = facts_of_config(config.to_dict())
    if facts is None:
        raise InputError(f"backbone {name}: its configuration names no width and depth")
    if facts.kind == "decoder":
        config.use_cache = False  # nothing is generated: cached keys and values would only take memory
    # otherwise a target named `dense` also matches `pooler.dense`
    return config, facts, {"add_pooling_layer": False} if _has_pooler(config) else {}


def same_base(base: BaseIdentity | Location, weights_sha256: str | None, trained: str = "adapter") -> None:
    """Refuse a base whose weights are not those that an adapter or a run (`trained`) was trained on.

    Raises:
        InputError: If the digests differ, or the adapter records none.
    """
    if base.weights_sha256 != weights_sha256:
        raise InputError(
            f"the base model found here has weights {base.weights_sha256[:12]}…, but the {trained} was"
            f" trained on {str(weights_sha256)[:12]}…"
        )


def _uninitialized() -> AbstractContextManager[Any]:
    """Let models be made without first numbers inside the block, which takes half of the time on the meta device."""
    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # no public name
        return nullcontext()
    context: AbstractContextManager[Any] = no_init_weights()
    return context


def _quantization(section: BackboneSection, dtype: torch.dtype) -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise InputError(
            f"backbone.quantization: {section.quantization} needs bitsandbytes: pip install 'llmrec-peft[quantization]'"
        ) from None
    from transformers import BitsAndBytesConfig

    if section.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=section.double_quantization,
    )


def _keep_trainable_on_cpu(model: nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights in an evaluation pass.

    On processors with AVX512-BF16 the first evaluation repacks `Linear4bit` weights for the inference
    kernel and never unpacks them; training after that silently loses gradients through frozen layers.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit" and hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - nn.Module types it as a tensor


def _has_pooler(config: Any) -> bool:
    from transformers import MODEL_MAPPING

    model_class = MODEL_MAPPING.get(type(config), None)
    return model_class is not None and "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
