"""Schema: the registry's tables."""

from __future__ import annotations

APPLICATION = 0x4C4C5245
"""By this number in its header the file is known as a registry."""
FORMAT = 1
"""Version of the tables."""
CHECKED = ("versions", "states", "tenants", "past", "keys")
"""Tables that are looked through when a registry is opened."""

TABLES = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};

-- A run in the sealed store. The folder's name has its digest, and what did not come with it.
CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL UNIQUE
);

-- A version after some events. Tenants who gave the same version the same events share the row.
CREATE TABLE states (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    version INTEGER NOT NULL REFERENCES versions,
    number INTEGER NOT NULL,      -- how many events there were
    before INTEGER REFERENCES states,
    kind TEXT,                    -- of the last event
    rows TEXT,                    -- JSON: columns of the items that it added
    added TEXT,                   -- JSON: what scoring takes of them beside columns and vectors, and a digest of all
    vectors BLOB                  -- of the items' texts; with `added`, only where a tenant's route leads here
);
CREATE INDEX states_by_before ON states (before);
CREATE INDEX states_by_version ON states (version);

CREATE TABLE tenants (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    main INTEGER NOT NULL REFERENCES states,
    trial INTEGER REFERENCES states,
    share REAL NOT NULL DEFAULT 0,
    former INTEGER REFERENCES states,
    pinned INTEGER NOT NULL DEFAULT 0,
    queue_weight REAL NOT NULL DEFAULT 1,
    created REAL NOT NULL
);
CREATE INDEX tenants_by_main ON tenants (main);
CREATE INDEX tenants_by_trial ON tenants (trial);
CREATE INDEX tenants_by_former ON tenants (former);

-- States in which a tenant's versions were, for audits; `place` orders them, and time never does.
CREATE TABLE past (
    tenant INTEGER NOT NULL REFERENCES tenants ON DELETE CASCADE,
    state INTEGER NOT NULL REFERENCES states,
    place INTEGER NOT NULL,
    PRIMARY KEY (tenant, state)
) WITHOUT ROWID;
CREATE INDEX past_by_place ON past (tenant, place);
CREATE INDEX past_by_state ON past (state);

-- Digests of keys; a tenant of NULL is an admin.
CREATE TABLE keys (
    key_id TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    tenant TEXT,
    scopes TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    label TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_by_tenant ON keys (tenant);

-- Sequence numbers of a tenant begin at 1 and have no gaps.
CREATE TABLE events (
    tenant INTEGER NOT NULL REFERENCES tenants ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    event_id TEXT,
    user_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    label REAL,
    timestamp REAL NOT NULL,
    received REAL NOT NULL,
    PRIMARY KEY (tenant, sequence)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_by_id ON events (tenant, event_id) WHERE event_id IS NOT NULL;
"""
