"""Comparison of a database's schema with the one that the migrations create.

An empty database is migrated for comparison (SQLite: in memory; Postgres: in a temporary schema that is rolled back).
The same server or library produces both definitions, so they can be compared as text.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from sqlalchemy import create_engine

from eventstore.integrity.audit import Audit, printable
from eventstore.stores import schema

Definitions = dict[tuple[str, str], str]
"""Keyed by kind and name; a part of a table is named ``TABLE.NAME``."""
_TABLE_PARTS = ("trigger", "index", "column", "constraint", "rule")
"""Kinds of which the log's tables must have no extra ones: a foreign trigger can change stored rows."""

_SQLITE = "SELECT type, name, tbl_name, sql FROM sqlite_master"
# Kind, name and definition of everything in a schema that affects the log's tables.
_POSTGRES = """
SELECT 'table', c.relname::text, concat_ws(' ', c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity)
    FROM pg_class c WHERE c.relnamespace = {ns} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL SELECT 'view', c.relname::text, pg_get_viewdef(c.oid)
    FROM pg_class c WHERE c.relnamespace = {ns} AND c.relkind IN ('v', 'm')
UNION ALL SELECT 'column', c.relname || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (c.oid, attnum)
    WHERE c.relnamespace = {ns} AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'index', c.relname || '.' || x.relname, concat_ws(' ', pg_get_indexdef(x.oid), i.indisvalid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    WHERE c.relnamespace = {ns}
UNION ALL SELECT 'constraint', c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE c.relnamespace = {ns}
UNION ALL SELECT 'trigger', c.relname || '.' || t.tgname, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = {ns} AND NOT t.tgisinternal
UNION ALL SELECT 'rule', c.relname || '.' || r.rulename, concat_ws(' ', pg_get_ruledef(r.oid), r.ev_enabled)
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = {ns} AND r.rulename <> '_RETURN'
UNION ALL SELECT 'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
        concat_ws(' ', p.prosecdef, p.provolatile, p.prosrc,
            ARRAY(SELECT split_part(setting, '=', 1) FROM unnest(p.proconfig) setting))
    FROM pg_proc p WHERE p.pronamespace = {ns}
"""
_OURS = "(SELECT relnamespace FROM pg_class WHERE oid = to_regclass('alembic_version'))"


def can_compare(audit: Audit) -> bool:
    """Whether the schema can be compared: Postgres requires the privilege to create a schema."""
    if audit.sqlite:
        return True
    may = "has_database_privilege(current_database(), 'CREATE') AND NOT pg_is_in_recovery()"
    ((found,),) = audit.rows(f"SELECT {may} AND current_setting('transaction_read_only') = 'off'")
    return bool(found)


def catalog_differences(audit: Audit) -> Iterator[str]:
    """One line for each part of the log's schema that is missing, altered, or not turnlog's."""
    found, expected = (_sqlite if audit.sqlite else _postgres)(audit)
    tables = {name for kind, name in expected if kind == "table"}
    for (kind, name), definition in sorted(expected.items()):
        if (kind, name) not in found:
            yield f"the {kind} {name} is missing"
        elif found[kind, name] != definition:
            yield f"the {kind} {name} was altered"
    for kind, name in sorted(found.keys() - expected.keys()):
        if kind in _TABLE_PARTS and name.partition(".")[0] in tables:
            yield f"the {kind} {printable(name)} is not turnlog's"


def _sqlite(audit: Audit) -> tuple[Definitions, Definitions]:
    return _sqlite_definitions(audit.rows(_SQLITE)), _sqlite_expected()


@cache
def _sqlite_expected() -> Definitions:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            schema.migrate(connection)
            return _sqlite_definitions(connection.exec_driver_sql(_SQLITE))
    finally:
        engine.dispose()


def _sqlite_definitions(rows: Iterable[Any]) -> Definitions:
    """Definitions by kind and name, without SQLite's internal tables."""
    return {
        (printable(kind), printable(name if kind in ("table", "view") else f"{table}.{name}")): _normalized(sql)
        for kind, name, table, sql in rows
        if not (kind == "table" and printable(name).startswith("sqlite_"))
    }


def _normalized(sql: object) -> str:
    """A definition without differences between SQLite versions: white space, and quotes around plain names."""
    text = re.sub(r'"(\w+)"', r"\1", printable("" if sql is None else sql))
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(text.split()))


def _postgres(audit: Audit) -> tuple[Definitions, Definitions]:
    scratch = f"turnlog_verify_{uuid.uuid4().hex[:12]}"
    with audit.scratch() as connection:
        run = connection.exec_driver_sql
        ((ours, name),) = run(f"SELECT n.oid, n.nspname FROM pg_namespace n WHERE n.oid = {_OURS}").all()
        run(f"CREATE SCHEMA {scratch}")
        run(f"SET LOCAL search_path TO {scratch}")
        schema.migrate(connection)
        expected = _postgres_definitions(run, f"'{scratch}'::regnamespace", scratch)
        run("SELECT set_config('search_path', quote_ident(%s), true)", (name,))
        return _postgres_definitions(run, str(ours), name), expected


def _postgres_definitions(run: Callable[[str], Any], namespace: str, name: str) -> Definitions:
    qualified = re.compile(rf'\b{re.escape(name)}\b\.?|"{re.escape(name)}"\.?')
    rows = run(_POSTGRES.format(ns=namespace)).all()
    return {(kind, found): " ".join(qualified.sub("", definition or "").split()) for kind, found, definition in rows}
