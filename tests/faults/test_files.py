"""Files: killed while saving, cut, bits flipped, of another kind or version."""

import os
import pickle
import random
import signal
import time
import zipfile
from pathlib import Path

import pytest
import torch
from support import assert_same_bits, state_of
from support.runs import train

import infonoise_ext as inx
from infonoise_ext.state.tensors import MUTABLE

OPTIONS = {"bins": 8, "capacity": 8, "min_count": 2, "warmup": 3, "refresh_every": 2}


def trained(steps=30, **options):
    schedule = inx.InfoNoise(seed=1, **(OPTIONS | options))
    train(schedule, steps, batch=32)
    return schedule


def assert_refused_or_harmless(schedule, path, content, saved):
    """A damaged file is refused by name and changes nothing, or what it damaged carries no meaning."""
    path.write_bytes(content)
    before, refusal = state_of(schedule), None
    try:
        schedule.load(path)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        assert str(path) in refusal
        assert_same_bits(schedule, before)
        return True
    assert_same_bits(schedule, saved)
    train(schedule, 1)  # so that the next load has something to change
    return False


def saved_bytes(path, schedule):
    schedule.save(path)
    return path.read_bytes()


def test_flipped_bits_are_found(tmp_path):
    schedule = trained()
    path, g = tmp_path / "s.pt", random.Random(1)
    whole, saved = saved_bytes(path, schedule), state_of(schedule)
    refused, victim = 0, trained(7)
    for _ in range(300):
        content = bytearray(whole)
        content[g.randrange(len(whole))] ^= 1 << g.randrange(8)
        refused += assert_refused_or_harmless(victim, path, content, saved)
    assert refused > 150  # the rest of the file is padding and dates


def test_flipped_losses_and_tables_are_found(tmp_path):
    """A flip in the losses themselves, which any float would pass for."""
    schedule = trained(capacity=64)
    path, g = tmp_path / "s.pt", random.Random(2)
    whole = saved_bytes(path, schedule)
    for name in MUTABLE:
        start = whole.index(getattr(schedule.state, name).numpy().tobytes())
        for _ in range(5):
            content = bytearray(whole)
            content[start + g.randrange(getattr(schedule.state, name).nbytes)] ^= 1 << g.randrange(8)
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"s\.pt.*checksum"):
                schedule.load(path)


def test_every_kind_of_cut_is_found(tmp_path):
    schedule = trained()
    path, g = tmp_path / "s.pt", random.Random(3)
    whole, saved = saved_bytes(path, schedule), state_of(schedule)
    victim = trained(7)
    lengths = {0, 1, 3, 4, 30, 64, len(whole) // 2, len(whole) - 1, len(whole) - 22, len(whole) - 23}
    for length in lengths | {g.randrange(len(whole)) for _ in range(60)}:
        assert assert_refused_or_harmless(victim, path, whole[:length], saved), length
        hole = bytearray(whole)
        hole[length : length + 64] = bytes(len(hole[length : length + 64]))  # a block never written
        assert_refused_or_harmless(victim, path, hole, saved)


def test_files_of_another_kind_or_version_are_refused_by_name(tmp_path):
    schedule = trained()
    before, state = state_of(schedule), schedule.state_dict()
    path = tmp_path / "s.pt"

    def write(content):
        path.write_bytes(content)

    def write_zip():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hello", "world")

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "run"),)

    for make, message in (
        (lambda: write(b"hello"), "damaged"),
        (lambda: write(pickle.dumps(state)), "damaged"),
        (write_zip, "damaged"),
        (lambda: torch.save(Payload(), path), "damaged"),
        (lambda: torch.save([1, 2], path), "holds a list"),
        (lambda: torch.save({"model": torch.ones(3)}, path), "format"),
        (lambda: torch.save(state | {"version": 0}, path), "version 0, but this release reads 1"),
        (lambda: torch.save(state | {"version": 2}, path), "version 2, but this release reads 1"),
        (lambda: torch.save(state | {"counters": state["counters"] + 7}, path), "status"),
        (lambda: torch.save(state | {"edges": state["edges"] * float("inf")}, path), "edges"),
    ):
        make()
        with pytest.raises(ValueError, match=rf"s\.pt.*{message}"):
            schedule.load(path)
        assert_same_bits(schedule, before)
    assert not (tmp_path / "run").exists()
    for place in (tmp_path, tmp_path / "absent.pt"):
        with pytest.raises(OSError, match=place.name):
            schedule.load(place)


def save_until_killed(schedule, path, started):
    try:
        while True:
            train(schedule, 1, batch=32)
            schedule.save(path)
            os.write(started, b".")
    finally:
        os._exit(1)  # whatever happens, pytest does not go on here


def test_killed_while_saving_the_last_good_file_loads(tmp_path):
    schedule = trained(capacity=512)
    path, g = tmp_path / "s.pt", random.Random(4)
    schedule.save(path)
    for _ in range(20):
        steps = schedule.summary()["steps"]
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            save_until_killed(schedule, path, writing)
        os.read(reading, 1)  # one file is written, the next is on its way
        time.sleep(g.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
        schedule.load(path)
        assert schedule.summary()["steps"] > steps


def test_saving_keeps_links_and_the_permissions_of_the_user(tmp_path):
    schedule = trained()
    real, link = tmp_path / "step_100.pt", tmp_path / "latest.pt"
    mask = os.umask(0o027)
    try:
        schedule.save(real)
        link.symlink_to(real.name)
        schedule.save(link)
    finally:
        os.umask(mask)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [link, real]


def test_saving_again_keeps_the_mode_of_the_file(tmp_path):
    schedule, path = trained(), tmp_path / "s.pt"
    schedule.save(path)
    path.chmod(0o604)
    schedule.save(path)
    assert path.stat().st_mode & 0o777 == 0o604


def test_any_name_can_be_saved_to_but_that_of_something_else_than_a_file(tmp_path):
    schedule = trained()
    schedule.save(tmp_path / ("n" * 252 + ".pt"))
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match="must be a file or a new name"):
            schedule.save(other)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_directory_of_records_is_found(tmp_path):
    """A bit that makes a record a folder: torch.load returns memory that was never written, and no error."""
    schedule = trained()
    path = tmp_path / "s.pt"
    whole = saved_bytes(path, schedule)
    entry = whole.index(b"PK\x01\x02")
    for _ in range(4):  # past the records before the first tensor's
        entry = whole.index(b"PK\x01\x02", entry + 1)
    content = bytearray(whole)
    content[entry + 38] ^= 16  # external attributes
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"s\.pt.*checksum"):
        schedule.load(path)


def test_a_state_dictionary_that_torch_saved_loads_too(tmp_path):
    schedule = trained()
    torch.save(schedule.state_dict(), tmp_path / "s.pt")
    other = trained(3)
    other.load(tmp_path / "s.pt")
    assert_same_bits(other, state_of(schedule))
