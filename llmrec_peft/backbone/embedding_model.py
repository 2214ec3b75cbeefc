"""EmbeddingModel: what the files of a sentence-transformers folder say of how texts become vectors; without torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmrec_peft.errors import InputError
from llmrec_peft.strict_json import read_json, read_object

MODULES = "modules.json"
"""File that makes a folder an embedding model's."""
_LARGEST = 1 << 20
"""Bytes of a configuration file."""
_OWN = "sentence_transformers."
_FOLDER = re.compile(r"\d{1,3}_\w{1,60}")
_SETTINGS = tuple(
    f"sentence_{name}_config.json" for name in "bert roberta distilbert camembert albert xlm-roberta xlnet".split()
)
"""Names under which the transformer's own settings are stored, the first that is there counts."""
POOLINGS = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean-sqrt",
    "weightedmean": "weighted-mean",
    "lasttoken": "last-token",
}
"""Their names of pooling, and ours."""
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Switches of older folders, and the name of each in newer ones."""
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
"""Classes of `torch.nn` that may follow a Dense layer; they take no arguments."""
LONGEST_PROMPT = 4000
"""Characters of a prompt."""
LONGEST = 1 << 20
"""Tokens above which a stated length means that none is stated."""


@dataclass(frozen=True)
class DenseFacts:
    """A linear layer after pooling.

    Attributes:
        folder: Where its ``model.safetensors`` lies, inside the model's folder.
        inputs: Width before it.
        outputs: Width after it.
        bias: Whether it has a bias.
        activation: Class of `torch.nn` that follows it.
    """

    folder: str
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class EmbeddingModel:
    """How an embedding model makes a vector of a text, as it was published.

    Attributes:
        pooling: See `llmrec_peft.backbone.pooling.pool`; None if the files name none.
        normalize: Whether vectors are scaled to length 1.
        dense: Linear layers between pooling and scaling, in order.
        include_prompt: Whether the tokens of a prompt count in pooling.
        prompts: Texts put before others, by name.
        default_prompt: Name of the prompt for texts of no stated kind.
        max_length: Tokens of a text at most; None if only the tokenizer says.
        lower_case: Whether texts are lower-cased before the tokenizer reads them.
        files: Files that were read or hold weights, relative to the folder: they change answers.
    """

    pooling: str | None = None
    normalize: bool = False
    dense: tuple[DenseFacts, ...] = ()
    include_prompt: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_length: int | None = None
    lower_case: bool = False
    files: tuple[str, ...] = ()


def read_embedding_model(folder: Path) -> EmbeddingModel | None:
    """Read what the files of a folder say; None for a folder that is no embedding model's.

    Raises:
        InputError: For files that cannot be read, or modules that cannot be run here.
    """
    if not (folder / MODULES).exists():
        return None
    return _Reader(folder).read()


class _Reader:
    """Reads one folder; every refusal names the file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = [MODULES]

    def read(self) -> EmbeddingModel:
        pooling: str | None = None
        include, normalize = True, False
        dense: list[DenseFacts] = []
        modules = self._modules()
        if not modules or modules[0] != ("Transformer", ""):
            kind, path = modules[0] if modules else ("nothing", "")
            found = f"{kind} in {path}" if path else kind
            raise InputError(f"{self._at(MODULES)}: begins with {found}, not with a Transformer in the folder itself")
        for kind, path in modules[1:]:
            if kind == "Pooling" and pooling is None and not dense and not normalize:
                pooling, include = self._pooling(path)
            elif kind == "Dense" and pooling is not None and not normalize:
                dense.append(self._dense(path))
            elif kind == "Normalize" and pooling is not None and not normalize:
                normalize = True
                self._between(path, self._config(path, missing_ok=True))
            elif kind != "Dropout":  # which does nothing outside training
                raise InputError(
                    f"{self._at(MODULES)}: {kind} in this place cannot be run: a Transformer, Pooling, Dense layers and"
                    " Normalize can, in this order"
                )
        prompts, default = self._prompts()
        max_length, lower = self._settings()
        files = tuple(dict.fromkeys(self._files))
        return EmbeddingModel(
            pooling, normalize, tuple(dense), include, prompts, default, max_length, lower, files=files
        )

    def _modules(self) -> list[tuple[str, str]]:
        """Return class and folder of each module."""
        listed = read_json(self._folder / MODULES, _LARGEST, follow_links=True, infinite=True)
        if not isinstance(listed, list):
            raise InputError(f"{self._at(MODULES)}: is no JSON list of modules")
        found = []
        for entry in listed:
            kind, path = (entry.get("type"), entry.get("path", "")) if isinstance(entry, dict) else (None, None)
            if not isinstance(kind, str) or not isinstance(path, str):
                raise InputError(f"{self._at(MODULES)}: every module has a type and a path, both texts")
            if path and not _FOLDER.fullmatch(path):
                raise InputError(f"{self._at(MODULES)}: path {path[:60]!r} is not a folder inside it like 1_Pooling")
            if not kind.startswith(_OWN):
                raise InputError(
                    f"{self._at(MODULES)}: {kind[:80]!r} is Python code of the model's own, which is not run"
                )
            found.append((kind.rsplit(".", 1)[-1][:80], path))
        return found

    def _pooling(self, path: str) -> tuple[str, bool]:
        config = self._config(path)
        modes = config.get("pooling_mode")
        if modes is None:
            modes = [name for flag, name in FLAGS.items() if self._flag(path, config, flag, False)] or ["mean"]
        modes = [modes] if isinstance(modes, str) else modes
        if not isinstance(modes, list) or len(modes) != 1 or modes[0] not in list(POOLINGS):
            named = " + ".join(str(mode)[:40] for mode in modes) if isinstance(modes, list) else str(modes)[:40]
            raise InputError(
                f"{self._at(path)}/config.json: pooling {named[:200]!r} cannot be run, only one of"
                f" {', '.join(POOLINGS)}"
            )
        return POOLINGS[modes[0]], self._flag(path, config, "include_prompt", True)

    def _dense(self, path: str) -> DenseFacts:
        config = self._config(path)
        self._between(path, config)
        if self._flag(path, config, "use_residual", False):
            raise InputError(f"{self._at(path)}/config.json: use_residual cannot be run")
        sizes = [config.get(key) for key in ("in_features", "out_features")]
        if not all(type(size) is int and 0 < size <= 1 << 16 for size in sizes):
            raise InputError(f"{self._at(path)}/config.json: in_features and out_features are whole numbers from 1")
        given = config.get("activation_function", "torch.nn.modules.activation.Tanh")
        name = given.rsplit(".", 1)[-1] if isinstance(given, str) and given.startswith("torch.nn.") else None
        if name not in ACTIVATIONS:
            raise InputError(
                f"{self._at(path)}/config.json: activation_function {str(given)[:80]!r} cannot be run, only"
                f" {', '.join(ACTIVATIONS)} of torch.nn"
            )
        self._files.append(f"{path}/model.safetensors")
        if not (self._folder / path / "model.safetensors").is_file():
            raise InputError(f"{self._at(path)}: model.safetensors is missing (pickled weights are not loaded)")
        bias = self._flag(path, config, "bias", True)
        return DenseFacts(path, int(sizes[0]), int(sizes[1]), bias, name)  # type: ignore[arg-type]

    def _between(self, path: str, config: Mapping[str, Any]) -> None:
        """Refuse a layer that works on anything but the pooled vector."""
        for key in ("module_input_name", "module_output_name"):
            if config.get(key, "sentence_embedding") not in ("sentence_embedding", None):
                raise InputError(f"{self._at(path)}/config.json: {key} {str(config[key])[:60]!r} cannot be run")

    def _prompts(self) -> tuple[dict[str, str], str | None]:
        name = "config_sentence_transformers.json"
        config = self._optional(name)
        if config.get("model_type", "SentenceTransformer") != "SentenceTransformer":
            raise InputError(f"{self._at(name)}: a {str(config['model_type'])[:60]} makes no vectors of texts")
        prompts = config.get("prompts") or {}
        if not isinstance(prompts, dict) or not all(
            isinstance(prompt, str | None) and len(prompt or "") <= LONGEST_PROMPT for prompt in prompts.values()
        ):
            raise InputError(f"{self._at(name)}: prompts are texts of at most {LONGEST_PROMPT} characters by name")
        default = config.get("default_prompt_name")
        if default is not None and (not isinstance(default, str) or default not in prompts):
            raise InputError(f"{self._at(name)}: default_prompt_name {str(default)[:60]!r} is none of its prompts")
        return {key: prompt or "" for key, prompt in prompts.items()}, default

    def _settings(self) -> tuple[int | None, bool]:
        name = next((name for name in _SETTINGS if (self._folder / name).exists()), _SETTINGS[0])
        config = self._optional(name)
        plain = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
        for key, usual in plain.items():
            if config.get(key, usual) != usual:
                raise InputError(f"{self._at(name)}: {key} {str(config[key])[:60]!r} cannot be run, only {usual!r}")
        for key in ("processing_kwargs", "query_length", "document_length", "query_expansion"):
            if config.get(key):
                raise InputError(f"{self._at(name)}: {key} cannot be run")
        self._forward(name, config.get("modality_config"))
        length = config.get("max_seq_length")
        if length is not None and (type(length) is not int or length < 1):
            raise InputError(f"{self._at(name)}: max_seq_length {str(length)[:40]} is not a whole number from 1")
        lower = self._flag(name, config, "do_lower_case", False)
        return None if length is None or length > LONGEST else length, lower

    def _forward(self, name: str, kinds: Any) -> None:
        """Refuse texts that are read in another way than by the model's plain pass."""
        if kinds is None:
            return
        text = kinds.get("text") if isinstance(kinds, dict) else None
        plain = {"method": "forward", "method_output_name": "last_hidden_state"}
        if not isinstance(text, dict) or any(text.get(key, usual) != usual for key, usual in plain.items()):
            raise InputError(f"{self._at(name)}: modality_config reads texts in a way that cannot be run")

    def _flag(self, where: str, config: Mapping[str, Any], key: str, usual: bool) -> bool:
        value = config.get(key, usual)
        if not isinstance(value, bool):
            raise InputError(f"{self._at(where)}: {key} is true or false, not {str(value)[:40]!r}")
        return value

    def _config(self, path: str, missing_ok: bool = False) -> dict[str, Any]:
        """Return the configuration of a module in a folder of its own."""
        name = f"{path}/config.json" if path else ""
        if not name or (missing_ok and not (self._folder / name).exists()):
            if missing_ok:
                return {}
            raise InputError(f"{self._at(MODULES)}: a module beside the Transformer has no folder of its own")
        return self._optional(name, needed=True)

    def _optional(self, name: str, needed: bool = False) -> dict[str, Any]:
        if not needed and not (self._folder / name).exists():
            return {}
        self._files.append(name)
        return read_object(self._folder / name, _LARGEST, follow_links=True, infinite=True)

    def _at(self, name: str) -> str:
        return str(self._folder / name)
