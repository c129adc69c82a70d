"""The tables, as peewee models. A change here is a new schema version and a migration in store.py."""

from __future__ import annotations

import peewee

SCHEMA_VERSION = 5

MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE usage ADD COLUMN groups VARCHAR(255) NOT NULL DEFAULT ''",
        "ALTER TABLE usage ADD COLUMN charged INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE usage ADD COLUMN reserved_nano BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE usage ADD COLUMN entry BIGINT NOT NULL DEFAULT 0",
        "CREATE INDEX usage_entry ON usage (entry)",
    ),
    3: (),  # the new tables are made below; state.rollup fills its own from the rows
    4: (),
    5: ("ALTER TABLE usage ADD COLUMN units TEXT",),
}
"""The statements that lead from the version before to each. A new database is made by the models
alone; so are new tables of an old one."""

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
    units = peewee.TextField(null=True)
    """What is not counted in tokens, as JSON: images, audio_ms, characters, searches. Null when there is nothing."""

    class Meta:
        table_name = "usage"
        indexes = ((("tenant_id", "created_ms"), False), (("user_id", "created_ms"), False))


class SeriesRow(Table):
    """One combination of what sums are asked by; rollups name it by its short number. See state.rollup for `cube`."""

    cube = peewee.IntegerField()
    partner_id = peewee.CharField()
    tenant_id = peewee.CharField(index=True)
    user_id = peewee.CharField()
    key_id = peewee.CharField(index=True)
    groups = peewee.CharField()
    model = peewee.CharField()
    backend_id = peewee.CharField()
    status = peewee.CharField()

    class Meta:
        table_name = "usage_series"


SeriesRow.add_index(
    peewee.SQL(
        "CREATE UNIQUE INDEX IF NOT EXISTS usage_series_names ON usage_series "
        "(cube, user_id, key_id, model, backend_id, status, groups, tenant_id, partner_id)"
    )
)


class RollupRow(Table):
    """The sums of a series in a span of time. Widths and starts are those of state.rollup."""

    series_id = peewee.IntegerField()
    width_ms = peewee.IntegerField()
    start_ms = peewee.BigIntegerField()
    requests = peewee.IntegerField()
    charged = peewee.IntegerField()
    input_tokens = peewee.BigIntegerField()
    output_tokens = peewee.BigIntegerField()
    cached_input_tokens = peewee.BigIntegerField()
    cache_write_tokens = peewee.BigIntegerField()
    reasoning_tokens = peewee.BigIntegerField()
    cost_nano = peewee.BigIntegerField()
    backend_cost_nano = peewee.BigIntegerField()
    estimated = peewee.IntegerField()
    failed = peewee.IntegerField()

    class Meta:
        table_name = "usage_rollups"
        primary_key = peewee.CompositeKey("series_id", "width_ms", "start_ms")
        without_rowid = True


class BudgetRow(Table):
    """A budget that was made over the API. `made_in` is how far up its maker's people scope reached."""

    id = peewee.CharField(primary_key=True)
    scope = peewee.CharField()
    subject = peewee.CharField()
    name = peewee.TextField()
    period = peewee.CharField()
    timezone = peewee.CharField()
    cost_limit = peewee.BigIntegerField(null=True)
    token_limit = peewee.BigIntegerField(null=True)
    request_limit = peewee.BigIntegerField(null=True)
    soft_ppm = peewee.IntegerField()
    hard_action = peewee.CharField()
    made_by = peewee.CharField()
    made_in = peewee.IntegerField()
    created_unix = peewee.DoubleField()

    class Meta:
        table_name = "budgets"


class StoredResponseRow(Table):
    """An answer of the Responses API that is kept for later calls. `items` and `response` are JSON."""

    id = peewee.CharField(primary_key=True)
    tenant_id = peewee.CharField(index=True)
    user_id = peewee.CharField()
    previous_id = peewee.CharField()
    created_unix = peewee.DoubleField()
    expires_unix = peewee.DoubleField(index=True)
    items = peewee.TextField()
    response = peewee.TextField()

    class Meta:
        table_name = "responses"


class PartnerRow(Table):
    """A partner that was made over the API. Lists and mappings are JSON, here and below."""

    id = peewee.CharField(primary_key=True)
    display_name = peewee.TextField()
    rate_limits = peewee.TextField()
    status = peewee.CharField()
    created_unix = peewee.DoubleField()
    created_by = peewee.CharField()

    class Meta:
        table_name = "partners"


class TenantRow(Table):
    id = peewee.CharField(primary_key=True)
    partner_id = peewee.CharField()
    display_name = peewee.TextField()
    status = peewee.CharField()
    models = peewee.TextField()
    rate_limits = peewee.TextField()
    user_rate_limits = peewee.TextField()
    key_rate_limits = peewee.TextField()
    created_unix = peewee.DoubleField()
    created_by = peewee.CharField()

    class Meta:
        table_name = "tenants"


class PersonRow(Table):
    """A user that was made over the API. One that was deleted stays: usage rows bear its id."""

    id = peewee.CharField(primary_key=True)
    tenant_id = peewee.CharField()
    name = peewee.CharField()
    email = peewee.TextField()
    display_name = peewee.TextField()
    status = peewee.CharField()
    roles = peewee.TextField()
    custom_role_ids = peewee.TextField()
    module_permissions = peewee.TextField()
    created_unix = peewee.DoubleField()
    created_by = peewee.CharField()

    class Meta:
        table_name = "users"


class CustomRoleRow(Table):
    id = peewee.CharField(primary_key=True)
    tenant_id = peewee.CharField()
    name = peewee.TextField()
    slug = peewee.CharField()
    description = peewee.TextField()
    core_permissions = peewee.TextField()
    module_permissions = peewee.TextField()
    created_by = peewee.CharField()
    created_unix = peewee.DoubleField()
    updated_unix = peewee.DoubleField()

    class Meta:
        table_name = "custom_roles"
        indexes = ((("tenant_id", "slug"), True),)


PEOPLE_TABLES = [PartnerRow, TenantRow, PersonRow, CustomRoleRow]

TABLES = [MetaRow, ApiKeyRow, UsageRow, SeriesRow, RollupRow, BudgetRow, StoredResponseRow, *PEOPLE_TABLES]
