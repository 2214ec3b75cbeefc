"""Results: the file of what the suite proved, one cell per method, backbone and precision; without torch."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

from llmrec_peft import backbone, registry
from llmrec_peft.artifact.folder import whole_file
from llmrec_peft.backbone import through_peft
from llmrec_peft.errors import InputError
from llmrec_peft.serving import mixing

FILE = "conformance.json"
PRECISIONS = ("fp32", "bf16", "int8", "nf4")
SUITE = 2
"""Version of the suite's rules; cells proved under other rules are run again."""
GROUPED = "grouped: "
"""Beginning of the note of the check `mixing` where a method's rows are run in passes of their own; the reason follows.
"""
_FORMS = ("batched", "low_rank", "positions")
"""Modules of `llmrec_peft.backbone` by which methods' forms of mixed batches compute."""
_STACK = ("torch", "transformers", "peft", "bitsandbytes")

Results = dict[str, dict[str, dict[str, dict[str, Any]]]]
"""method → backbone → precision → cell."""


def read_results(path: Path) -> Results:
    """Read a result file; return nothing if there is none.

    Raises:
        InputError: If it is not such a file.
    """
    if not path.is_file():
        return {}
    try:
        results: Results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: unreadable ({str(error).splitlines()[0]})") from None
    if not isinstance(results, dict) or not all(isinstance(cells, dict) for cells in results.values()):
        raise InputError(f"{path}: not a result file of the conformance suite")
    return results


def add_cell(path: Path, method: str, backbone: str, precision: str, cell: dict[str, Any]) -> None:
    """Add one cell to a result file, which is always written as a whole.

    Raises:
        InputError: If the file cannot be read or written.
    """
    results = read_results(path)
    results.setdefault(method, {}).setdefault(backbone, {})[precision] = cell
    text = json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_current(cell: dict[str, Any] | None, method: str) -> bool:
    """Return whether a cell was proved by these rules, with this code of the method and these versions."""
    return (
        cell is not None
        and cell.get("suite") == SUITE
        and cell.get("code") == code_digest(method)
        and cell.get("versions") == versions(method)
    )


def versions(method: str) -> dict[str, str]:
    """Return the versions that a cell's outcome depends on: of the method's package and its dependencies."""
    name, _, version = registry.plugins("adapters")[method].package.partition(" ")
    by_package = {name: version}
    for package in _STACK:
        try:
            by_package[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            by_package[package] = "absent"
    return by_package


def shipped_results(method: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Return a method's cells in the result file of its package; empty if there is none.

    The package is not imported.
    """
    folder = _package_folder(method)
    if folder is None:
        return {}
    try:
        return read_results(folder / FILE).get(method, {})
    except InputError:
        return {}


def code_digest(method: str) -> str:
    """Digest a method's module, those that it imports from its own package, and what methods share.

    The shared part is in the core: what lies behind `llmrec_peft.plugins` for methods through PEFT, and what runs mixed
    batches; a change of it makes the proofs of all methods old.
    """
    module = registry.plugins("adapters")[method].entry_point.module
    top = module.partition(".")[0]
    folder = _package_folder(method)
    if folder is None:
        spec = importlib.util.find_spec(top)
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        return hashlib.sha256(origin.read_bytes()).hexdigest()[:16] if origin and origin.is_file() else ""
    waiting, seen = [module], _shared_sources()
    while waiting:
        name = waiting.pop()
        file = folder.joinpath(*name.split(".")[1:])
        file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        if name in seen or not file.is_file():
            continue
        seen[name] = file.read_bytes()
        waiting += [found for found in _imports(seen[name], name) if found.partition(".")[0] == top]
    sha = hashlib.sha256()
    for name in sorted(seen):
        sha.update(name.encode() + b"\0" + seen[name] + b"\0")
    return sha.hexdigest()[:16]


def _shared_sources() -> dict[str, bytes]:
    """Return the sources of what methods share, by module: through PEFT, and in mixed batches."""
    found = {
        f"{package.__name__}.{file.stem}": file
        for package in (through_peft, mixing)
        for file in sorted(Path(package.__path__[0]).glob("*.py"))
    }
    found |= {name: Path(backbone.__path__[0]) / f"{name}.py" for name in _FORMS}
    return {name: file.read_bytes() for name, file in found.items()}


def _package_folder(method: str) -> Path | None:
    """Return the folder of the top-level package that a method's entry point names."""
    plugin = registry.plugins("adapters").get(method)
    if plugin is None:
        return None
    try:
        spec = importlib.util.find_spec(plugin.entry_point.module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _imports(source: bytes, module: str) -> list[str]:
    """Return the names of modules that a source imports anywhere."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level]
                base = ".".join([*above, *([base] if base else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names
