"""Writing: whole or not at all, never through a link, never over what is not a regular file."""

import errno
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from leadline.errors import StorageError, UsageError
from leadline.files import temporary
from leadline.files.temporary import remove_leftovers
from leadline.files.writing import check_writable, make_directory, write_atomically


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"one", b"", b"three" * 100_000):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a"]


def test_permissions_are_those_of_the_old_file_or_of_the_umask(tmp_path: Path) -> None:
    old, new, plain = tmp_path / "old", tmp_path / "new", tmp_path / "plain"
    old.touch()
    old.chmod(0o640)
    plain.touch()
    for path in (old, new):
        write_atomically(path, b"x")
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_content_and_nothing_beside_it(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, broken, full)
    with pytest.raises(StorageError, match="No space left on device; the previous one is intact"):
        write_atomically(path, b"new")
    assert (os.listdir(tmp_path), path.read_bytes()) == (["a"], b"old")


def test_a_users_own_temporary_files_and_planted_links_are_left_alone(tmp_path: Path) -> None:
    victim, own = tmp_path / "victim", tmp_path / ".b.tmp"
    victim.write_text("mine")
    own.write_text("mine too")
    (tmp_path / ".a.tmp").symlink_to(victim)
    for name in "ab":
        write_atomically(tmp_path / name, b"x")
    assert (victim.read_text(), own.read_text()) == ("mine", "mine too")
    assert (tmp_path / ".a.tmp").is_symlink()


def test_a_planted_link_of_the_very_name_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr("leadline.files.temporary.secrets.token_hex", lambda n: "0" * 2 * n)
    (tmp_path / f".leadline-{'0' * 16}.tmp").symlink_to(victim)
    with pytest.raises(StorageError, match="File exists"):
        write_atomically(tmp_path / "a", b"x")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("target", ["there", "absent"])
def test_a_link_is_refused_and_stays(target: str, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    with pytest.raises(StorageError, match="is a link, which is not followed"):
        write_atomically(link, b"x")
    assert link.is_symlink()
    assert (tmp_path / "there").read_text() == "mine"
    assert not (tmp_path / "absent").exists()


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"x" * 200_000)
    reader.join(10)
    assert read == [b"x" * 200_000]
    assert pipe.is_fifo()


def test_a_device_is_written_to_and_stays() -> None:
    write_atomically(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(StorageError, match="No space left on device"):
        write_atomically(Path("/dev/full"), b"x")
    assert Path("/dev/full").is_char_device()


def test_descriptors_of_the_process_are_written_to(capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    write_atomically(Path("/dev/stdout"), b"after\n")
    write_atomically(Path("/dev/fd/2"), b"beside\n")
    assert capfd.readouterr() == ("before\nafter\n", "beside\n")
    with pytest.raises(StorageError, match="Bad file descriptor"):
        write_atomically(Path("/dev/fd/999"), b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="no sockets in the file system")
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s")
        with pytest.raises(StorageError, match="neither a file, a pipe nor a character device"):
            write_atomically(Path("s"), b"x")


@pytest.mark.parametrize("name", ["", ".", "/", "..", "a/.."])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a file"):
        write_atomically(Path(name), b"x")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        write_atomically(tmp_path, b"x")


@pytest.mark.parametrize("length", [254, 255])
def test_the_longest_names_are_written(length: int, tmp_path: Path) -> None:
    write_atomically(tmp_path / ("a" * length), b"x")
    assert os.listdir(tmp_path) == ["a" * length]


@pytest.mark.parametrize("name", ["a" * 256, "absent/a", "file/a", "a\0b", "\ud800"])
def test_what_cannot_be_a_file_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (lambda path: write_atomically(path, b"x"), check_writable):
        with pytest.raises(StorageError, match="could not be written") as error:
            write(tmp_path / name)
        assert "\n" not in str(error.value)


def test_leftovers_of_killed_writes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    ours, mine = tmp_path / f".leadline-{'a' * 16}.tmp", tmp_path / ".leadline-mine.tmp"
    link = tmp_path / f".leadline-{'b' * 16}.tmp"
    ours.touch()
    mine.touch()
    link.symlink_to(mine)
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {mine, link}


def test_what_is_being_written_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody tidies the folder at the worst moments: while a file is written, and before its lock is held."""
    taken, tidied = temporary._taken, []

    def late(file: int, how: int) -> bool:
        if not tidied and how == temporary.locks.LOCK_EX:
            tidied.append(how)
            remove_leftovers(tmp_path)
            assert os.listdir(tmp_path) == []
        return taken(file, how)

    monkeypatch.setattr(temporary, "_taken", late)
    with temporary.replacing(tmp_path / "a") as (file, beside):
        os.write(file, b"x")
        remove_leftovers(tmp_path)
        assert os.listdir(tmp_path) == [beside.name]
    assert (os.listdir(tmp_path), (tmp_path / "a").read_bytes(), len(tidied)) == (["a"], b"x", 1)


@pytest.mark.parametrize("refusing", ["no locks", "refuses them"])
def test_without_locks_files_are_written_too(refusing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if refusing == "no locks":
        monkeypatch.setattr(temporary, "locks", None)
    else:
        monkeypatch.setattr(temporary, "_taken", lambda *_: False)
    for content in (b"one", b"two"):
        write_atomically(tmp_path / "a", content)
    assert (os.listdir(tmp_path), (tmp_path / "a").read_bytes()) == (["a"], b"two")


def test_folders_are_made_or_one_sentence(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for name in ("file", "file/x", "a" * 256, "a\0b"):
        with pytest.raises(StorageError, match="could not be made"):
            make_directory(tmp_path / name)
