"""A run with another adapter: its head, signals, users and items stay, and its texts are encoded anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from llmrec_peft.data.histories import Histories
from llmrec_peft.errors import InputError
from llmrec_peft.run.language_model import TenantAdapter
from llmrec_peft.run.tenant import LoadedTenant
from llmrec_peft.run.tuned_model import TunedModel


def require_encodable(tenant: LoadedTenant) -> None:
    """Refuse a run whose texts cannot be encoded anew from its folder alone.

    Raises:
        InputError: If it reads no text, or the texts that it stores for users tell their histories.
    """
    plan = tenant.model.plan
    if not plan.any:
        raise InputError(f"{tenant.folder} reads no text: its adapter, if it has one, changes no answer")
    if tenant.user_vectors is not None and plan.user_by_example:
        raise InputError(
            f"{tenant.folder} stores vectors of users' histories in words (views.user), which only a training writes"
        )


def with_adapter(tenant: LoadedTenant, adapter: TenantAdapter) -> LoadedTenant:
    """Return a run with another adapter inside the same base.

    Args:
        tenant: The run.
        adapter: The adapter; its recipe says how texts are read.

    Raises:
        InputError: If the adapter does not fit the base, a vector is not finite, or see `require_encodable`.
    """
    require_encodable(tenant)
    tuned = TunedModel(adapter.recipe, tenant.items, tenant.users, tenant.base, adapter)
    catalogue, users = tenant.catalogue, tenant.user_vectors
    if catalogue.vectors is not None:
        vectors = tuned.encode_items(tenant.items.texts)
        if vectors.shape[1] != catalogue.vectors.shape[1]:
            raise InputError(
                f"{tenant.folder}: its head reads vectors {catalogue.vectors.shape[1]} wide, and this adapter's are"
                f" {vectors.shape[1]}"
            )
        catalogue = replace(catalogue, vectors=vectors.to(catalogue.vectors.device), side=None)
    if users is not None:
        users = _user_vectors(tuned, len(users)).to(users.device)
    return replace(tenant, catalogue=catalogue, user_vectors=users, adapter=adapter, canary=None)


def _user_vectors(tuned: TunedModel, count: int) -> torch.Tensor:
    """Encode each user's own text, float32 [count, width]."""
    everybody = np.arange(count).tolist()
    return tuned.encode_examples("user", everybody, [0] * count, Histories.empty(count), None)
