from __future__ import annotations

import os
import re
import socket

import pytest

from prodia_async import InputError
from prodia_async.batch._lock import FolderLock, _is_at, _take_or_explain


def test_one_at_a_time(tmp_path):
    lock = FolderLock(tmp_path, since=0.0)
    owner = f"process {os.getpid()} on host {socket.gethostname()}, since 1970-01-01 00:00:00 UTC"
    advice = "Wait until it has ended, stop it, or choose another folder"
    with pytest.raises(InputError, match=re.escape(f"at work in {str(tmp_path)!r}: {owner}. {advice}")):
        FolderLock(tmp_path, since=0.0)
    lock.release()
    lock.release()
    FolderLock(tmp_path, since=0.0).release()


def test_an_owner_that_has_not_signed_yet(tmp_path):
    lock = FolderLock(tmp_path, since=0.0)
    os.truncate(tmp_path / "journal.lock", 0)
    with pytest.raises(InputError, match=r": another process\. Wait"):
        FolderLock(tmp_path, since=0.0)
    lock.release()


def test_a_longer_note_of_an_earlier_owner_is_gone(tmp_path):
    (tmp_path / "journal.lock").write_text("x" * 5000)
    lock = FolderLock(tmp_path, since=0.0)
    assert (tmp_path / "journal.lock").read_text().startswith(f"process {os.getpid()} ")
    lock.release()


def test_a_program_that_is_started_does_not_inherit_it(tmp_path):
    lock = FolderLock(tmp_path, since=0.0)
    assert lock._descriptor is not None
    assert not os.get_inheritable(lock._descriptor)
    lock.release()


def test_a_file_that_was_removed_meanwhile_guards_nothing(tmp_path):
    lock = FolderLock(tmp_path, since=0.0)
    path = tmp_path / "journal.lock"
    assert _is_at(lock._descriptor, path)
    path.unlink()
    assert not _is_at(lock._descriptor, path)
    path.touch()
    assert not _is_at(lock._descriptor, path)
    lock.release()


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="needs a descriptor that cannot be locked")
def test_a_file_that_cannot_be_locked_is_refused(tmp_path):
    descriptor = os.open(tmp_path, os.O_PATH)
    with pytest.raises(InputError, match=r"cannot be locked \(.*\), so two batches might run, and pay for"):
        _take_or_explain(descriptor, tmp_path)
    os.close(descriptor)
