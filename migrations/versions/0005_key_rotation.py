"""Key rotation: a session's key may be re-wrapped under a different master key; a destroyed one stays destroyed."""

from alembic import op

revision = "0005"
down_revision = "0004"

ONLY_GO = "NEW.wrapped IS NOT NULL OR NEW.session_id <> OLD.session_id"
GO_OR_TURN = (
    "NEW.session_id <> OLD.session_id OR (NEW.wrapped IS NOT NULL AND (OLD.wrapped IS NULL "
    "OR NEW.master = OLD.master OR length(NEW.wrapped) <> length(OLD.wrapped) OR NEW.forgotten_ns IS NOT NULL))"
)


def upgrade() -> None:
    _guard("keys_only_go", "keys_go_or_turn", GO_OR_TURN)


def downgrade() -> None:
    _guard("keys_go_or_turn", "keys_only_go", ONLY_GO)


def _guard(old: str, new: str, refused: str) -> None:
    """Replace the trigger ``old`` by ``new``."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"DROP TRIGGER {old} ON keys")
        op.execute(
            f"CREATE TRIGGER {new} BEFORE UPDATE ON keys FOR EACH ROW WHEN ({refused}) EXECUTE FUNCTION events_refuse()"
        )
    else:
        op.execute(f"DROP TRIGGER {old}")
        op.execute(
            f"CREATE TRIGGER {new} BEFORE UPDATE ON keys WHEN {refused} "
            "BEGIN SELECT RAISE(ABORT, 'the event log is append-only: UPDATE refused'); END"
        )
