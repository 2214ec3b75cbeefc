"""Cold tables: the tensors of a run's signals without a row for any known user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmrec_peft import registry
from llmrec_peft.errors import InputError
from llmrec_peft.model.served_baseline import NAME, ServedBaseline
from llmrec_peft.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

UserTables = Mapping[str, tuple[str, ...] | None]
"""`Signal.user_tables` of each signal, by its name."""


def user_tables(recipe: Recipe) -> dict[str, tuple[str, ...] | None]:
    """Return which tensors of a recipe's signals have a row for each user, and those of the baseline it serves."""
    told = {name: registry.get("signals", name).user_tables for name in recipe.signals.active}
    return {**told, NAME: ServedBaseline.user_tables}  # no other baseline that is served has such tables


def without_users(tensors: Mapping[str, Tensor], tables: UserTables, num_users: int) -> dict[str, Tensor]:
    """Return the tensors of signals with the row of the unknown user alone, where they have one for each user.

    Args:
        tensors: Tensors, each under its signal's name.
        tables: Which of them have a row for each user.
        num_users: Rows of such a table, the unknown user's included.

    Raises:
        InputError: If a signal does not say which of its tensors are about users, and one could be; or if one that is
            said to be about users has another number of rows.
    """
    kept = {}
    for name, tensor in tensors.items():
        signal, _, own = name.partition(".")
        told = tables.get(signal)
        if told is None and num_users in tensor.shape:
            raise InputError(
                f"signal {signal!r}: {own} may have a row for each user, and the signal does not say in user_tables"
                " whether it has: it is published with --include-users alone"
            )
        about_users = told is not None and own in told
        if about_users and (not tensor.ndim or len(tensor) != num_users):
            raise InputError(f"signal {signal!r}: {own} is {list(tensor.shape)}, not one row for each of {num_users}")
        kept[name] = tensor[:1] if about_users else tensor
    return kept
