"""`llmrec tenants list` and `show`: what answers tenants' users."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec_peft.cli import parameters, server
from llmrec_peft.cli.output import print_json, print_line, print_table
from llmrec_peft.footprint.sizes import show_memory

if TYPE_CHECKING:
    from llmrec_peft.serving.http.schemas import IdentityOut, TenantOut

_DIGITS = 12
"""Digits of a digest that are shown in tables."""


def list_tenants(
    url: server.Url = server.URL, key_file: server.KeyFile = None, as_json: parameters.Json = False
) -> None:
    """List the tenants of a server, in the order in which they were registered.

    Examples:
      llmrec tenants list
      llmrec tenants list --url http://127.0.0.1:9000 --key-file admin.key --json
    """
    with server.client_of(url, key_file) as client:
        found = client.tenants()
    if as_json:
        print_json([tenant.model_dump(mode="json") for tenant in found])
        return
    rows = [
        [
            one.tenant,
            _version(one.main),
            "" if one.trial is None else f"{_version(one.trial)} {one.share:.0%}",
            next((each.tier for each in one.conditions if each.version == one.main.version), ""),
            "yes" if one.pinned else "no",
            f"{one.queue_weight:g}",
        ]
        for one in found
    ]
    print_table("", ["tenant", "version", "on trial", "tier", "pinned", "queue weight"], rows, (5,))


def show(
    name: server.Name,
    url: server.Url = server.URL,
    key_file: server.KeyFile = None,
    as_json: parameters.Json = False,
) -> None:
    """Show what answers a tenant's users, and where its versions are.

    Examples:
      llmrec tenants show films
      llmrec tenants show films --json
    """
    with server.client_of(url, key_file) as client:
        print_tenant(client.tenant(name), as_json)


def print_tenant(tenant: TenantOut, as_json: bool) -> None:
    """Print a tenant's versions, each with the whole digest that `llmrec tenants weight` asks for."""
    if as_json:
        print_json(tenant.model_dump(mode="json"))
        return
    where = {one.version: one for one in tenant.conditions}
    rows = []
    for role, identity in (("answers", tenant.main), ("on trial", tenant.trial), ("former", tenant.former)):
        if identity is not None:
            found = where.get(identity.version)
            share = f"{tenant.share:.0%}" if role == "on trial" else ""
            memory = "" if found is None or not found.nbytes else show_memory(found.nbytes)
            tier = "" if found is None else found.tier
            rows.append([role, identity.version, str(identity.state), share, tier, memory])
    pinned = "pinned" if tenant.pinned else "not pinned"
    title = f"{tenant.tenant}: {pinned}, queue weight {tenant.queue_weight:g}"
    print_table(title, ["", "version", "state", "share", "tier", "memory"], rows, (2, 3, 5))
    for condition in tenant.conditions:
        if condition.failure is not None:
            print_line(
                f"{condition.version[:_DIGITS]} failed {condition.failure.attempts} times: {condition.failure.reason}"
            )
    for line in tenant.notes:
        print_line(line)


def _version(identity: IdentityOut) -> str:
    state = f" +{identity.state}" if identity.state else ""
    return f"{identity.version[:_DIGITS]}{state}"
