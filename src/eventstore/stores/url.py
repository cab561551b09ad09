"""Database URLs, safe to show."""

from __future__ import annotations

from sqlalchemy import URL


def without_passwords(url: URL) -> str:
    """The URL with all passwords masked, also those in its query."""
    hidden = {name: "***" for name in url.query if "password" in name or "secret" in name}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)
