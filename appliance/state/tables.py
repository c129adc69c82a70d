"""The tables, as peewee models. A change here is a new schema version and a migration in store.py."""

from __future__ import annotations

import peewee

SCHEMA_VERSION = 2

MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE usage ADD COLUMN groups VARCHAR(255) NOT NULL DEFAULT ''",
        "ALTER TABLE usage ADD COLUMN charged INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE usage ADD COLUMN reserved_nano BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE usage ADD COLUMN entry BIGINT NOT NULL DEFAULT 0",
        "CREATE INDEX usage_entry ON usage (entry)",
    ),
}
"""The statements that lead from the version before to each. A new database is made by the models alone."""

database = peewee.Proxy()


class Table(peewee.Model):
    class Meta:
        database = database


class MetaRow(Table):
    name = peewee.CharField(primary_key=True)
    value = peewee.TextField()

    class Meta:
        table_name = "meta"


class ApiKeyRow(Table):
    id = peewee.CharField(primary_key=True)
    digest = peewee.CharField(unique=True)
    user_id = peewee.CharField(index=True)
    name = peewee.TextField()
    prefix = peewee.CharField()
    created_unix = peewee.DoubleField()
    expires_unix = peewee.DoubleField(null=True)
    revoked_unix = peewee.DoubleField(null=True)

    class Meta:
        table_name = "api_keys"


class UsageRow(Table):
    """One finished call. `seq` rises with every row, so a cursor over it stays right while rows arrive."""

    seq = peewee.AutoField()
    id = peewee.CharField(unique=True)
    request_id = peewee.CharField(index=True)
    created_ms = peewee.BigIntegerField(index=True)
    partner_id = peewee.CharField()
    tenant_id = peewee.CharField()
    user_id = peewee.CharField()
    key_id = peewee.CharField()
    model = peewee.CharField()
    backend_id = peewee.CharField()
    provider = peewee.CharField()
    surface = peewee.CharField()
    operation = peewee.CharField()
    stream = peewee.BooleanField()
    status = peewee.CharField()
    estimated = peewee.BooleanField()
    input_tokens = peewee.BigIntegerField()
    output_tokens = peewee.BigIntegerField()
    cached_input_tokens = peewee.BigIntegerField()
    cache_write_tokens = peewee.BigIntegerField()
    reasoning_tokens = peewee.BigIntegerField()
    cost_nano = peewee.BigIntegerField()
    backend_cost_nano = peewee.BigIntegerField()
    latency_ms = peewee.IntegerField()
    ttft_ms = peewee.IntegerField(null=True)
    finish_reason = peewee.CharField()
    error_code = peewee.CharField()
    groups = peewee.CharField()
    """The user's groups at the time of the call, as `|research|sales|`."""
    charged = peewee.IntegerField()
    """1 when the call counts in request budgets: it was answered, or given up while an upstream worked on it."""
    reserved_nano = peewee.BigIntegerField()
    """What had been held for it; a higher cost is an overrun."""
    entry = peewee.BigIntegerField(index=True)
    """The ledger's running number: every balance of a moment is the sum of the rows with lower entries."""
    attempts = peewee.TextField()
    price = peewee.TextField()
    metadata = peewee.TextField(null=True)

    class Meta:
        table_name = "usage"
        indexes = ((("tenant_id", "created_ms"), False), (("user_id", "created_ms"), False))


TABLES = [MetaRow, ApiKeyRow, UsageRow]
