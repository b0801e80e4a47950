"""Two paths trade places in one step, and where that cannot be nothing changes; locks of directories."""

import os
import subprocess
import sys
import threading
import time

import pytest

from daskzarr.stores.local import exchange as module
from daskzarr.stores.local.exchange import exchange
from daskzarr.stores.local.folder_lock import lock_folder

LINUX = sys.platform == "linux"


@pytest.fixture
def two(tmp_path):
    for name in "ab":
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "file").write_text(name)
    return str(tmp_path / "a"), str(tmp_path / "b")


def texts(*folders):
    """What is in the file below each."""
    found = []
    for folder in folders:
        with open(f"{folder}/below/file") as file:
            found.append(file.read())
    return found


@pytest.mark.skipif(not LINUX, reason="only Linux has it")
@pytest.mark.parametrize("sync", [False, True])
def test_directories_trade_places(two, sync):
    assert exchange(*two, sync=sync)
    assert texts(*two) == ["b", "a"]
    assert exchange(*two, sync=sync)
    assert texts(*two) == ["a", "b"]


@pytest.mark.skipif(not LINUX, reason="only Linux has it")
def test_there_is_something_at_both_all_the_while(two):
    stop, missing = threading.Event(), []

    def look():
        while not stop.is_set():
            missing.extend(folder for folder in two if not os.path.exists(f"{folder}/below/file"))

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(500):
        assert exchange(*two)
    stop.set()
    thread.join()
    assert missing == []


def test_nothing_changes_where_it_cannot_be(two, tmp_path, monkeypatch):
    a, b = two
    nothing, link = str(tmp_path / "nothing"), str(tmp_path / "link")
    os.symlink(b, link)
    assert not exchange(a, nothing)
    assert not exchange(nothing, a)
    assert not exchange(a, link)
    assert not exchange(link, a)
    assert not exchange(a, f"{a}/below")  # into itself
    monkeypatch.setattr(module, "_renameat2", lambda: None)
    assert not exchange(a, b)
    assert texts(a, b, link) == ["a", "b", "b"]
    assert not os.path.lexists(nothing)
    assert os.path.islink(link)


def test_one_thread_holds_a_lock_at_a_time(tmp_path):
    inside, most = 0, 0

    def enter():
        nonlocal inside, most
        with lock_folder(str(tmp_path), 10) as held:
            assert held
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert os.listdir(tmp_path) == []


def test_a_lock_is_waited_for_as_long_as_that(tmp_path):
    with lock_folder(str(tmp_path), 10) as first:
        assert first
        with lock_folder(str(tmp_path), 0.05) as second:
            assert not second
    with lock_folder(str(tmp_path), 0) as third:
        assert third


def test_a_dead_process_holds_no_lock(tmp_path):
    code = (
        "import sys, time\n"
        "from daskzarr.stores.local.folder_lock import lock_folder\n"
        "with lock_folder(sys.argv[1], 10) as held:\n"
        "    print(held, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"True"
        with lock_folder(str(tmp_path), 0) as held:
            assert not held
        process.kill()
        process.wait()
    with lock_folder(str(tmp_path), 0) as held:
        assert held


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(KeyError), lock_folder(str(tmp_path), 0):
        raise KeyError
    with lock_folder(str(tmp_path), 0) as held:
        assert held


def test_what_is_not_there_is_not_locked(tmp_path):
    with lock_folder(str(tmp_path / "nothing"), 0) as held:
        assert not held
