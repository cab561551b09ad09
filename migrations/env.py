"""Alembic environment: runs on the connection it is passed, or on ``-x url=…`` from the command line."""

from alembic import context
from sqlalchemy import create_engine


def run(connection):
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


connection = context.config.attributes.get("connection")
if connection is not None:
    run(connection)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise SystemExit("no database given; use: alembic -x url=sqlite:///calls.db …")
    with create_engine(url).begin() as connection:
        run(connection)
