"""The private CA's directory: who can read it, that nothing in it is half-written, and that names lead nowhere else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from remediator.errors import UsageError
from remediator.private_files import create_file, replace_file
from remediator.tls.store import Store, store_directory


@pytest.fixture(autouse=True)
def careless_umask() -> Iterator[None]:
    """Modes must not depend on it."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that is not there yet."""
    return Store(tmp_path / "share" / "remediator" / "tls")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert store_directory() == Path("/data/remediator/tls")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert store_directory() == tmp_path / ".local/share/remediator/tls"


def test_all_of_it_is_for_its_user_alone(store: Store) -> None:
    store.create_authority(b"certificate", b"key")
    store.save_host("web1", b"host")
    store.save_client("ann", b"client")
    store.save_controller(b"certificate", b"key")
    made = sorted(path for path in store.directory.rglob("*"))
    assert {mode(path) for path in (store.directory, *made) if path.is_dir()} == {0o700}
    modes = {str(path.relative_to(store.directory)): mode(path) for path in made if path.is_file()}
    assert modes == {
        "ca.pem": 0o444,
        "ca-key.pem": 0o600,
        "hosts/web1/cert.pem": 0o600,
        "clients/ann.pem": 0o600,
        "controller/cert.pem": 0o600,
        "controller/key.pem": 0o600,
    }


def test_a_directory_that_was_too_open_is_closed(store: Store) -> None:
    (store.directory / "hosts").mkdir(parents=True)
    store.save_host("web1", b"host")
    assert {mode(store.directory), mode(store.directory / "hosts")} == {0o700}


def test_what_is_kept_is_read_back_and_what_is_not_there_is_none(store: Store) -> None:
    assert store.read(store.authority) is None
    assert (store.hosts(), store.clients()) == ({}, {})
    store.save_host("web1", b"old")
    store.save_host("web1", b"new")
    assert store.read(store.host_certificate("web1")) == b"new"
    assert store.hosts() == {"web1": store.host_certificate("web1")}


@pytest.mark.parametrize(
    "name", ["web1", "..", ".", "../../etc/x", "a/b", "/abs", "web 1", "a%2Fb", "münchen", ".hidden", "a\nb", "a.pem"]
)
def test_any_name_has_a_place_of_its_own_inside_the_store(name: str, store: Store) -> None:
    store.save_host(name, b"host")
    store.save_client(name, b"client")
    assert list(store.hosts()) == [name]
    assert list(store.clients()) == [name]
    (directory,) = (store.directory / "hosts").iterdir()
    assert [path.name for path in directory.iterdir()] == ["cert.pem"]
    assert sorted(path.name for path in store.directory.iterdir()) == ["clients", "hosts"]


@pytest.mark.parametrize("name", ["", "x" * 300, "ü" * 100])
def test_a_name_that_no_file_can_have_is_an_error(name: str, store: Store) -> None:
    with pytest.raises(UsageError, match="too long, or empty"):
        store.save_host(name, b"host")


def test_a_second_authority_is_refused_and_the_first_is_as_it_was(store: Store) -> None:
    store.create_authority(b"certificate", b"key")
    with pytest.raises(UsageError, match=r"There is a CA already: .*ca-key\.pem.*move .* away"):
        store.create_authority(b"other", b"other")
    assert (store.authority.read_bytes(), store.authority_key.read_bytes()) == (b"certificate", b"key")


@pytest.mark.parametrize("left", ["ca.pem", "ca-key.pem"])
def test_what_is_left_of_an_authority_is_not_overwritten(left: str, store: Store) -> None:
    store.directory.mkdir(parents=True)
    (store.directory / left).write_bytes(b"left")
    with pytest.raises(UsageError, match="There is a CA already"):
        store.create_authority(b"other", b"other")
    assert [path.name for path in store.directory.iterdir()] == [left]
    with pytest.raises(UsageError, match="remediate tls init"):
        store.require_authority()


def test_a_write_that_fails_leaves_what_was_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save_host("web1", b"old")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UsageError, match=r"cert\.pem cannot be written: No space left on device.*XDG_DATA_HOME"):
        store.save_host("web1", b"new")
    with pytest.raises(UsageError, match="No space left"):
        store.create_authority(b"certificate", b"key")
    assert store.host_certificate("web1").read_bytes() == b"old"
    assert [path.name for path in store.host_certificate("web1").parent.iterdir()] == ["cert.pem"]
    assert [path.name for path in store.directory.iterdir()] == ["hosts"]


def test_half_an_authority_does_not_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    full = iter([False, False, True])
    sync = os.fsync

    def no_space_later(descriptor: int) -> None:
        if next(full):
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", no_space_later)
    with pytest.raises(UsageError, match=r"ca\.pem cannot be written: No space left"):
        store.create_authority(b"certificate", b"key")
    assert list(store.directory.iterdir()) == []


def test_a_file_where_the_directory_should_be_is_an_error_that_says_what_to_do(store: Store) -> None:
    store.directory.parent.mkdir(parents=True)
    store.directory.write_text("")
    with pytest.raises(UsageError, match="set XDG_DATA_HOME"):
        store.save_host("web1", b"host")
    with pytest.raises(UsageError, match="XDG_DATA_HOME"):
        store.hosts()


def test_a_directory_where_a_file_should_be_is_an_error(store: Store) -> None:
    store.authority.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"ca\.pem cannot be read: Is a directory"):
        store.read(store.authority)


def test_a_new_file_never_takes_the_place_of_another_and_has_its_mode_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_file(path, b"first", 0o400)
    assert mode(path) == 0o400
    with pytest.raises(FileExistsError):
        create_file(path, b"second")
    assert path.read_bytes() == b"first"
    replace_file(path, b"third", 0o444)
    assert (path.read_bytes(), mode(path)) == (b"third", 0o444)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "link", b"")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key", "link"]
