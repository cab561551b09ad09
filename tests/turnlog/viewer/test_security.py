"""Who gets to see the log: the token, the cookie, and names and pages that are foreign."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from support.browser import Viewer, viewing
from support.program import Program
from support.viewed_calls import hostile

PAGES = ["/", "/static/site.css", "/nothing"]


@pytest.mark.parametrize("path", PAGES)
def test_nothing_without_the_token(viewer: Viewer, path: str) -> None:
    """Break: in viewer/security.py, ``TokenGuard``, serve what has no cookie."""
    for given in ("", "?token=", "?token=wrong", "?token=%C3%A9", "?token=a&token=b"):
        got = httpx.get(viewer.origin + path + given, headers={"cookie": "turnlog=1; token=1"})
        assert got.status_code == 403
        assert got.text.count("\n") == 1
        assert "open the URL that `turnlog view` printed" in got.text


def test_the_token_becomes_a_cookie_and_leaves_the_address(viewer: Viewer) -> None:
    """Break: in viewer/security.py, ``_exchange``, keep the query as it is, or set the cookie without HttpOnly."""
    got = httpx.get(viewer.url + "&with=errors&sort=p95")
    assert got.status_code == 303
    assert got.headers["location"] == "/?with=errors&sort=p95"
    cookie = got.headers["set-cookie"]
    assert {part.strip() for part in cookie.split(";")[1:]} == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert cookie.startswith(f"turnlog-{urlsplit(viewer.origin).port}=")
    token = viewer.url.partition("=")[2]
    outside = httpx.get(f"{viewer.origin}//evil.example/x?token={token}")
    assert outside.headers["location"] == "/evil.example/x"


def test_each_run_has_a_token_of_its_own(viewer: Viewer, week_db: Path) -> None:
    with viewing(week_db) as other:
        token = viewer.url.partition("=")[2]
        assert token != other.url.partition("=")[2]
        assert len(token) >= 43
        assert httpx.get(f"{other.origin}/?token={token}").status_code == 403


def test_foreign_names_and_pages_are_refused(client: httpx.Client, viewer: Viewer) -> None:
    """Also with the cookie, which a page whose name was rebound would not have anyway."""
    assert client.get("/").status_code == 200
    for headers in ({"host": "evil.example"}, {"host": "127.0.0.1:1"}, {"origin": "http://evil.example"},
                    {"origin": "null"}):  # fmt: skip
        got = client.get("/", headers=headers)
        assert got.status_code == 403
        assert "call-" not in got.text


def test_what_pages_may_load(client: httpx.Client) -> None:
    """Break: in viewer/security.py, add ``'unsafe-inline'`` to the policy."""
    for path in PAGES:
        got = client.get(path)
        policy = dict(part.strip().partition(" ")[::2] for part in got.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
        assert "unsafe" not in str(policy)
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["x-content-type-options"] == "nosniff"
        for mark in ("<style", " style=", "<script>", " onclick=", "http://", "https://"):
            assert mark not in got.text, mark


def test_it_only_shows(client: httpx.Client) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        got = client.request(method, "/")
        assert got.status_code == 405
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/"):
        assert client.get(path).status_code in (404, 405), path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(week_db: Path, number: int) -> None:
    """Also while a connection is open."""
    viewer = Viewer(week_db)
    with socket.create_connection(("127.0.0.1", urlsplit(viewer.origin).port or 0)):
        code, err = viewer.end(number)
    assert code == 0
    assert err.count("\n") == 1


def test_errors_are_one_line(program: Program, week_db: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot serve on 127.0.0.1:{port}" in program.fails("view", "--db", week_db, "--port", port)
    assert "did you mean 'call-001'" in program.fails("view", "call-0001", "--db", week_db)
    assert "no database at" in program.fails("view", "--db", week_db.with_name("none.db"))
    assert "--allow-host" in program.fails("view", "--db", week_db, "--host", "0.0.0.0")


def test_a_session_is_opened_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "hostile.db"
    hostile(path)
    with viewing(path, "--", "one event") as found:
        assert found.url.startswith(f"{found.origin}/call?session=one+event&token=")
