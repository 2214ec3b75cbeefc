"""GGUF: convert a model in one GGUF file of a package to safetensors, once, in the user's cache."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from llmrec_peft import progress
from llmrec_peft.backbone.alias import BackboneAlias, GgufFile
from llmrec_peft.backbone.base_files import content_digest
from llmrec_peft.backbone.complete import load_complete
from llmrec_peft.backbone.quiet import quiet_transformers
from llmrec_peft.backbone.remembered import cache_folder
from llmrec_peft.errors import InputError, disk_is_full
from llmrec_peft.identity import file_digest
from llmrec_peft.strict_json import read_object

DIGESTS = "digests.json"
"""Written last into a converted folder: the SHA-256 of every other file in it."""
_WEIGHTS = "model.safetensors"
_LARGEST_RECORD = 1 << 20
"""Bytes of `DIGESTS`, at most."""


def converted_folder(gguf: GgufFile) -> Path:
    """Return the folder that a GGUF file is, or will be, converted into."""
    return cache_folder() / "gguf" / gguf.sha256[:16]


def what_is_wrong(folder: Path, gguf: GgufFile) -> str | None:
    """Return what is wrong with a converted folder; None if every file is as the conversion wrote it.

    The weights are compared with the digest in the alias, the other files with the recorded digests beside them.
    """
    try:
        record = read_object(folder / DIGESTS, _LARGEST_RECORD)
    except InputError:
        return f"{DIGESTS} is missing or broken"
    if _WEIGHTS not in record or "config.json" not in record:
        return f"{DIGESTS} names no weights"
    for name, digest in {**record, _WEIGHTS: gguf.converted_sha256}.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if content_digest(path) != digest:
            return f"{name} has changed"
    return None


def convert_once(name: str, alias: BackboneAlias) -> Path:
    """Return the folder with the safetensors of an alias's GGUF file; convert it if it is missing or damaged.

    Processes that start at once wait for the first; what a killed conversion left behind is removed.

    Args:
        name: The alias, for messages.
        alias: An alias with a `gguf` and an installed package.

    Raises:
        InputError: If the file is not the known one, ``gguf`` is missing, the disk is full, or the installed packages
            convert it into other weights than the known ones.
    """
    from filelock import FileLock

    gguf, package = alias.gguf, alias.embedded()
    if gguf is None or package is None:
        raise ValueError(f"{name} carries no GGUF file")
    target = converted_folder(gguf)
    if what_is_wrong(target, gguf) is None:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            wrong = what_is_wrong(target, gguf)  # another process may have converted it meanwhile
            if wrong is not None:
                for left in target.parent.glob(f".{target.name}.*.new"):
                    shutil.rmtree(left, ignore_errors=True)  # only the holder of the lock writes one
                if target.exists():
                    progress.warn(f"backbone {name}: {target}: {wrong}; converting it anew")
                _convert(name, alias, gguf, package / gguf.file, target)
    except OSError as error:
        why = "no room on the disk" if disk_is_full(error) else str(error.strerror or error)
        raise InputError(f"backbone {name!r}: cannot convert into {target}: {why} (LLMREC_CACHE moves it)") from error
    return target


def _convert(name: str, alias: BackboneAlias, gguf: GgufFile, source: Path, target: Path) -> None:
    found = file_digest(source) if source.is_file() else None
    if found != gguf.sha256:
        said = f"has SHA-256 {found[:12]}…, not {gguf.sha256[:12]}…" if found else "is missing"
        raise InputError(f"backbone {name!r}: {source} {said}; it is not loaded; reinstall it: {alias.install}")
    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"backbone {name!r} is read from GGUF once, which needs: pip install 'llmrec-peft[gguf]'")
    progress.note(f"converting {name} once, about {gguf.seconds} s, into {target}")
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent))
    try:
        with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader has bars of its own
            write_safetensors(source, partial)
        digest = file_digest(partial / _WEIGHTS)
        if digest != gguf.converted_sha256:
            raise InputError(
                f"backbone {name!r}: the installed gguf and transformers convert it into other weights"
                f" ({digest[:12]}…, not {gguf.converted_sha256[:12]}…); install the versions in constraints.txt"
            )
        digests = {path.name: file_digest(path) for path in sorted(partial.iterdir())}
        (partial / DIGESTS).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
        for path in partial.iterdir():
            path.chmod(0o644)  # safetensors writes files that only their owner reads
            with path.open("rb") as file:
                os.fsync(file.fileno())
        partial.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except Exception as error:
        if disk_is_full(error) and not isinstance(error, OSError):  # safetensors has an error type of its own
            raise InputError(f"backbone {name!r}: {target}: no room on the disk (LLMREC_CACHE moves it)") from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_safetensors(source: Path, folder: Path) -> None:
    """Write a GGUF file's model in bf16 with its configuration, tokenizer and chat template.

    The output head shares the embedding's weights; they are written once, as the embedding.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {"gguf_file": source.name, "trust_remote_code": False}
    # By default blocks stay quantized if a kernel for them exists; these weights are to be plain.
    plain = GgufConfig(dequantize=True)
    options = {**where, "quantization_config": plain, "dtype": torch.bfloat16}
    model = load_complete(AutoModelForCausalLM, source.parent, source.name, **options)
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    written: dict[str, Any] = config.to_diff_dict()
    tensors = dict(model.state_dict())
    if config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / _WEIGHTS, {"format": "pt"})
    public = {key: value for key, value in written.items() if not key.startswith("_")}
    text = json.dumps(public, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
    _split_digits(source, tokenizer)
    tokenizer.model_max_length = int(config.max_position_embeddings)
    tokenizer.padding_side = "right"
    for own in ("is_local", "local_files_only", "name_or_path"):
        tokenizer.init_kwargs.pop(own, None)
    tokenizer.save_pretrained(folder)


def _split_digits(source: Path, tokenizer: Any) -> None:
    """Split digits as the file's ``tokenizer.ggml.pre`` says; transformers treats every BPE as GPT-2's.

    SmolLM's tokenizer first splits off every digit, so that two spaces before a number are one token; split as in
    GPT-2, they would be two.
    """
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(source).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
            ]
        )
