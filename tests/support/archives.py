"""Archives made for tests, and an object store to keep them in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from eventstore import Store
from eventstore.stores.chain import Linked, Origin
from exporters.archive.build import Plan, build, plan
from exporters.archive.place import Place


def archived(store: Store, url: str | Path, buckets: int | None = None) -> Plan:
    """Build an archive of the store's sessions; returns what was planned."""
    place = Place(str(url))
    planned = plan(store, place, store.sessions(), buckets)
    build(store, place, planned)
    return planned


def chains_of(store: Store) -> dict[str, list[tuple[Origin, list[Linked]]]]:
    """All that a store has, in storage order, with links."""
    names = [session.session_id for session in store.sessions()]
    return {name: [(origin, list(stored)) for origin, stored in store.chains(name)] for name in names}


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of all files below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def s3_server(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on loopback, with an empty bucket, found by the environment; the bucket's URL."""
    import boto3
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # clients of an earlier server
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        endpoint = f"http://{host}:{port}"
        names = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        for name, value in (names | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="calls")
        yield "s3://calls/archive"
    finally:
        server.stop()
