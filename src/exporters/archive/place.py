"""Where an archive is: a folder, or a prefix in an object store, through fsspec."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from eventstore.errors import StoreError, StoreUnavailable
from eventstore.files import atomic_write, remove_leftovers
from eventstore.recording.journal import sync_folder
from exporters.archive.layout import EVENTS, Partition

_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "adlfs", "azure", "google")
"""Packages whose errors are those of an object store."""


class Place:
    """Where an archive is. Paths are relative to it, with slashes."""

    def __init__(self, url: str) -> None:
        """``url``: a path, ``s3://bucket/prefix``, or any other URL that fsspec knows. Raises `StoreError`."""
        self.url = url.rstrip("/") or url
        self.name = re.sub(r"(?<=://)[^/]*@", "", self.url)
        """The URL without credentials, for messages."""
        try:
            self._fs, root = fsspec.core.url_to_fs(str(Path(url).expanduser()) if "://" not in url else self.url)
        except ImportError as error:
            extra = "pip install 'turnlog[s3]'" if url.startswith("s3:") else str(error)
            raise StoreError(f"no library for {self.name}: {extra}") from error
        except ValueError as error:
            raise StoreError(f"{self.name}: {error}; pass a folder or s3://BUCKET/PREFIX") from error
        self._root: str = root.rstrip("/")
        self.folder = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None
        """The local folder; None in an object store."""
        if self.folder is not None:
            self.url = self._root  # absolute, for processes that work in different folders

    def __repr__(self) -> str:
        return f"archive {self.name}"

    def __reduce__(self) -> tuple[type[Place], tuple[str]]:
        return Place, (self.url,)

    def partitions(self, kind: str = EVENTS) -> dict[Partition, int]:
        """The partitions that have a file of this kind, in order, each with the file's size in bytes."""
        found = ((Partition.at(path), path, size) for path, size in self.files(kind).items())
        return dict(sorted((at, size) for at, path, size in found if at is not None and path == at.path(kind)))

    def derived(self, partition: Partition) -> list[str]:
        """The paths of all files that are made from the partition's events."""
        return [at for at in self.files() if Partition.at(at) == partition and not at.startswith(f"{EVENTS}/")]

    def files(self, kind: str = "") -> dict[str, int]:
        """The paths of all files, or of those of a kind, with their sizes."""
        with self._errors():
            self._fs.invalidate_cache()
            found = self._fs.find(f"{self._root}/{kind}".rstrip("/"), detail=True)
        return {str(path)[len(self._root) + 1 :]: int(about["size"]) for path, about in found.items()}

    def is_writable(self) -> bool:
        """Whether files can be written, as far as that is known without writing one."""
        return self.folder is None or os.access(self.folder, os.W_OK)

    def exists(self, path: str) -> bool:
        with self._errors():
            return bool(self._fs.exists(f"{self._root}/{path}"))

    def source(self, path: str) -> Any:
        """What pyarrow reads the file from: its local path, or a file object."""
        if self.folder is not None:
            return str(self.folder / path)
        with self._errors():
            return self._fs.open(f"{self._root}/{path}", "rb")

    @contextmanager
    def write(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file for writing, which has its name only once it is complete. Raises `StoreError`."""
        with self._errors():
            if self.folder is not None:
                target = self.folder / path
                _make_private(target.parent)
                with atomic_write(target) as file:
                    yield file
                sync_folder(target.parent)
                return
            with tempfile.TemporaryFile() as file:  # without a name, so that nothing stays if the process is killed
                yield file
                file.seek(0)
                self._upload(file, f"{self._root}/{path}")

    def _upload(self, file: IO[bytes], path: str) -> None:
        upload = self._fs.open(path, "wb", autocommit=False)
        try:
            shutil.copyfileobj(file, upload, 1 << 20)
            upload.close()
        except BaseException:
            upload.discard()
            raise
        upload.commit()

    def remove(self, path: str) -> None:
        with self._errors():
            self._fs.rm_file(f"{self._root}/{path}")
            if self.folder is not None:
                sync_folder((self.folder / path).parent)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lock a local archive and remove what killed writers left. Raises `StoreUnavailable` if it is locked.

        Object stores have no locks. Two builds of the same log write the same files there; if one aborts an upload of
        the other, that one fails and can be repeated.
        """
        if self.folder is None:
            with self._errors():
                self._abort_uploads()
            yield
            return
        with self._errors():
            _make_private(self.folder)
            fd = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreUnavailable(f"another process writes {self.name}; try again when it is done") from None
            remove_leftovers(self.folder)
            yield
        finally:
            os.close(fd)

    def _abort_uploads(self) -> None:
        """Abort the unfinished uploads in parts below the archive; S3 keeps, and charges for, what they sent."""
        if not hasattr(self._fs, "list_multipart_uploads"):
            return
        bucket, _slash, prefix = self._root.partition("/")
        for upload in self._fs.list_multipart_uploads(bucket):
            if upload["Key"].startswith(f"{prefix}/"):
                names = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                self._fs.call_s3("abort_multipart_upload", **names)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Translate the errors of file systems and of object stores into `StoreError`."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.name}: {error.strerror or error}") from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _CLIENTS:
                raise
            raise StoreUnavailable(f"{self.name}: {error}") from error


def _make_private(folder: Path) -> None:
    """Create the folder and its missing parents, for the owner only."""
    if not folder.exists():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
