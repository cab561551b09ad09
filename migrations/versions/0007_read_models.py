"""The table of the read models: a row a session, derived from the log and not part of it.

Its definition is that of `eventstore.stores.rows`, which the user's cache file has too. As rows can be thrown away, a
later change of the table is a migration that drops it and creates it again.
"""

from alembic import op

from eventstore.stores.rows import TABLES

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    TABLES.create_all(op.get_bind())


def downgrade() -> None:
    TABLES.drop_all(op.get_bind())
