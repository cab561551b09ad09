"""What the documents tell people to do works: every block of code is run, or says why it is not."""

from __future__ import annotations

import ast
import base64
import gzip
import html
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import orjson
import pytest

import turnlog
from eventstore import Recorder, open_store
from support.documents import SHOWN, TOP, blocks, environment, pages, runs, script
from support.http_receiver import Receiver
from support.words import AVOIDED
from turnlog.recordings import events_of, read_recordings

PAGES = pages()
RUN = [page for page in PAGES if runs(page)]
MARKERS = re.compile(r"not run: \S.{10,}|file: [\w.-]+")
KEY = base64.b64encode(bytes(32)).decode()
FEW = ("barge_in_vad", "normal_cascading", "close_while_thinking")
"""The recorded calls that the pages' commands find in the log."""


def name_of(page: Path) -> str:
    return str(page.relative_to(TOP))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a few recorded calls."""
    folder = tmp_path_factory.mktemp("log")
    with gzip.open(TOP / "fixtures" / "recordings.jsonl.gz") as lines:
        few = [line for line in lines if orjson.loads(line)["name"] in FEW]
    (folder / "few.jsonl").write_bytes(b"".join(few))
    store = open_store(folder / "calls.db")
    for place, recording in read_recordings(folder / "few.jsonl"):
        store.append(events_of(place, recording))
    store.close()
    return folder / "calls.db"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def run(page: Path, folder: Path, log: Path, replace: dict[str, str], **more: str) -> str:
    """Run the page's blocks in a folder with ``fixtures/`` and a log; returns what they print."""
    (folder / "fixtures").symlink_to(TOP / "fixtures")
    for name in ("calls.db", "after.db"):
        if not (folder / name).exists():
            shutil.copy(log, folder / name)
    done = subprocess.run(
        ["sh", "-c", script(page, folder, replace)],
        cwd=folder,
        env=environment(dict(os.environ), TURNLOG_DB="calls.db", XDG_DATA_HOME=str(folder / "data"), **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


OWN = ("docs/delivery.md", "docs/postgres.md", "docs/trust.md")
"""Pages that need more than a log; each has a test below."""


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if name_of(page) not in OWN], ids=name_of)
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, log: Path) -> None:
    """Break: in any page, misspell a command, an option or a name."""
    run(page, tmp_path, log, {})


@pytest.mark.slow
def test_the_blocks_of_delivery_run(tmp_path: Path, log: Path, receiver: Receiver) -> None:
    """The endpoints are one of ours."""
    run(
        TOP / "docs" / "delivery.md",
        tmp_path,
        log,
        {"http://localhost:4318": receiver.url, "https://example.com": receiver.url},
    )
    assert {request.path for request in receiver.taken} == {"/v1/traces", "/turns", "/logs"}


@pytest.mark.slow
def test_the_blocks_of_postgres_run(tmp_path: Path, log: Path, postgres_url: str) -> None:
    """On a real server, as its owner. Break: in docs/postgres.md, misspell ``--roles``."""
    assert postgres_url.startswith("postgresql+psycopg://")
    run(TOP / "docs" / "postgres.md", tmp_path, log, {"postgresql+psycopg://owner@host/calls": f"'{postgres_url}'"})


@pytest.mark.slow
def test_the_blocks_of_trust_run(tmp_path: Path, log: Path) -> None:
    """On a session that was recorded under a master key; ages are made so that it is old enough."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here")
    store = open_store(tmp_path / "calls.db", master_key=KEY)
    with Recorder(store, "s-1") as recorder:
        recorder.set_user_transcript("hello")
    store.close()
    page = TOP / "docs" / "trust.md"
    replace = {"$(openssl rand -base64 32)": KEY, "90d": "0m", "s-1-….jsonl.gz": "s-1-*.jsonl.gz"}
    for written in replace:
        assert written in page.read_text()
    printed = run(page, tmp_path, log, replace)
    assert "content forgotten" in printed
    assert "hello" not in printed


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_is_run_or_says_why_not(page: Path) -> None:
    """Break: in README.md, take a ``not run`` comment away, or write a command without a fence."""
    for block in blocks(page):
        where = f"{name_of(page)}:{block.line}"
        assert block.language in ("sh", "python", "toml", "sql", "yaml", *SHOWN), f"{where}: say which language it is"
        assert not block.marker or MARKERS.fullmatch(block.marker), f"{where}: {block.marker!r}"
        if block.language not in ("sh", "python", *SHOWN):
            assert block.marker, f"{where}: name its file, or say why it is not run"
    outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    loose = re.findall(r"^ {4,}(?:turnlog|pip|make|python|from|import) .*", outside, re.MULTILINE)
    assert not loose, "indented code is not run: fence it"


NOT_RUN = [
    pytest.param(block, id=f"{name_of(page)}:{block.line}")
    for page in PAGES
    for block in blocks(page)
    if block.language == "python" and block.why_not_run
]


@pytest.mark.parametrize("block", NOT_RUN)
def test_python_that_is_not_run_names_what_there_is(block: object) -> None:
    """Break: in docs/livekit.md, import ``attached``."""
    for node in ast.walk(ast.parse(block.text)):  # type: ignore[attr-defined]
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "turnlog":
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                if alias.name not in vars(module).get("__all__", ()):
                    importlib.import_module(f"{module.__name__}.{alias.name}")


# what the pages say of the repository --------------------------------------------------------------------------------

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")
PATH = re.compile(
    r"`((?:src|tests|docs|migrations|benchmarks|fixtures|eventstore|projections|exporters|turnlog)/[\w./-]+)"
)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text()):
        if "://" not in path:
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{name_of(page)}: {path}"
            assert not anchor or anchor in anchors(target), f"{name_of(page)}: {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_are_there(page: Path) -> None:
    """Break: in docs/architecture.md, misspell a path."""
    if "superseded" in page.read_text().partition("\n**")[0]:
        return  # a record of what was
    for path in PATH.findall(page.read_text()):
        assert (TOP / path).exists() or (TOP / "src" / path).exists(), f"{name_of(page)}: {path}"


def load(name: str) -> ModuleType:
    """A program of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, TOP / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(svg: str) -> list[str]:
    """What a picture says, but for its title."""
    texts = re.findall(r"<text [^>]*>(.*?)</text>", svg)[1:]
    return " ".join(html.unescape(text) for text in texts).replace("\xa0", " ").split()


@pytest.mark.slow
def test_the_pictures_show_what_is_printed_now() -> None:
    """`make pictures` makes them anew. Break: in docs/pictures/replay.svg, change a number."""
    make_pictures = load("make_pictures")
    for file, output in make_pictures.printed().items():
        shown = (TOP / "docs" / "pictures" / file).read_text()
        assert words_of(shown) == words_of(make_pictures.picture(file, output)), f"{file}: run `make pictures`"
        assert "http" not in shown.replace("http://www.w3.org/2000/svg", ""), "a picture loads nothing from elsewhere"


def test_the_api_page_has_every_public_name() -> None:
    """Break: in docs/api.md, take out a name."""
    listed = re.findall(r"^::: turnlog\.(\w+)$", (TOP / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(turnlog.__all__)


def test_every_page_is_on_the_site() -> None:
    """Break: in mkdocs.yml, take a page out of ``nav``."""
    nav = (TOP / "mkdocs.yml").read_text().partition("\nnav:")[2]
    listed = set(re.findall(r": ([\w/]+\.md)$", nav, re.MULTILINE))
    inside = {str(page.relative_to(TOP / "docs")) for page in PAGES if page.is_relative_to(TOP / "docs")}
    records = {page for page in inside if re.match(r"decisions/\d", page)}  # the index of decisions links them
    made = {"index.md", "cli.md", "changelog.md", "contributing.md", "security.md"}
    assert listed == (inside - records) | made


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_are_plain_english(page: Path) -> None:
    """Code aside. Break: in any page, write ``somebody``."""
    generated = r"^\| `.*$" if page.name == "rules.md" else "(?!)"  # rows are made from docstrings
    text = re.sub(generated, "", page.read_text(), flags=re.MULTILINE)
    prose = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->", "", text, flags=re.DOTALL)
    assert [found[0] for found in AVOIDED.finditer(prose)] == []


def test_readme_is_short_and_begins_with_the_two_commands() -> None:
    readme = TOP / "README.md"
    assert len(readme.read_text().splitlines()) <= 120
    commands = [line.split("#")[0].strip() for line in blocks(readme)[0].text.strip().splitlines()]
    assert commands[:2] == ["make demo", "make test"]


def test_nothing_names_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=False).stdout.split()
    for name in listed:
        path = TOP / name
        if path.suffix in (".py", ".md", ".toml", ".ini", ".sh", ".json", ".yml", ".svg", ""):
            text = path.read_text()
            assert "/" + "work/" not in text, name
            assert "shared" + "/" not in text, name
