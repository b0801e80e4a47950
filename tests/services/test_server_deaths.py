"""Servers and writers killed by SIGKILL in the middle of a write: what was promised is there, and the write goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster

import daskzarr

from . import rounds
from .rounds import BLOCKS, KINDS, Place, as_place, blocks_done, check_slow_write, unique, write_slowly

SERVERS = Path(__file__).parents[2] / "ci" / "servers"
# Servers that keep all they acknowledged, and how that is asked for: MongoDB answers before its journal is written.
KEEPING = {"s3": "close", "redis": "close", "mongodb": "fsync", "hdfs": "close"}
# Options of clients that otherwise try for minutes on their own before they say that there is no server.
IMPATIENT = {"hdfs": {"dfs.client.failover.max.attempts": "1"}, "mongodb": {"serverSelectionTimeoutMS": 1000}}
PORT = 12_000 + os.getpid() % 300 * 20  # and those next to it: another one for each test run


class Server:
    """A server of its own, on a port of its own, that is killed and started again."""

    def __init__(self, name):
        self.name, self.durability = name, KEEPING[name]

    def run(self, script, *options):
        """Run a script that starts or stops servers; what it prints."""
        command = [str(SERVERS / script), self.name, str(PORT), *options]
        environment = {key: value for key, value in os.environ.items() if key != "CLASSPATH"}
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=200, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def place(self):
        """A folder of its own on the server."""
        return KINDS[self.name].at(as_place(self.address), unique())

    def start(self):
        """Start with what was kept."""
        self.address = self.run("start", "--keep-data")

    def kill(self):
        """End it as a crash would."""
        self.run("stop", "--kill", "--keep-data")


@pytest.fixture(params=KEEPING)
def server(request):
    """A server that may be killed; only where the test run has one of its kind."""
    KINDS[request.param].require()
    server = Server(request.param)
    server.run("stop")  # what an earlier run may have left
    server.start()
    yield server
    server.run("stop", "--kill")


def when(condition, act, timeout=60):
    """A thread that acts once a condition holds; its ``join`` waits for that."""

    def wait():
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_a_server_that_comes_back(server, runner, tmp_path, monkeypatch):
    """The write goes through; or it fails with an error that says where, and the same call again completes it."""
    place, log = server.place(), tmp_path / "log"

    def crash():
        server.kill()
        time.sleep(0.5)
        server.start()

    errors = []

    def write():
        crashing = when(lambda: blocks_done(log) > BLOCKS // 4, crash)
        try:
            write_slowly(place, log, durability=server.durability)
        except daskzarr.DaskZarrError as error:
            errors.append(error)
        crashing.join()
        if errors:
            write_slowly(place, log, durability=server.durability)

    if runner == "threads":
        with dask.config.set(scheduler="threads", num_workers=4):
            write()
    else:
        monkeypatch.syspath_prepend(str(SERVERS.parents[1]))
        options = {"n_workers": 2, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
        with LocalCluster(**options) as cluster, Client(cluster):
            write()
    assert not any(error.url is None for error in errors)
    with dask.config.set(scheduler="threads"):
        check_slow_write(place)


def test_a_server_that_stays_away(server, tmp_path):
    """The write fails soon, naming store and object; what was noted until then is not computed again."""
    place, log = server.place(), tmp_path / "log"
    place = Place(place.url, {**(place.options or {}), **IMPATIENT.get(server.name, {})})
    with dask.config.set({"scheduler": "threads", "num_workers": 4, "daskzarr.retries.time": "1s"}):
        dying = when(lambda: blocks_done(log) > BLOCKS // 2, server.kill)
        begin = time.monotonic()
        with pytest.raises(daskzarr.StoreError) as caught:
            write_slowly(place, log, durability=server.durability)
        assert time.monotonic() - begin < 60
        dying.join()
    assert caught.value.url == daskzarr.open_store(place.url, storage_options=place.options).url
    assert caught.value.chunk_key
    before = blocks_done(log)
    server.start()
    with dask.config.set(scheduler="threads", num_workers=4):
        write_slowly(place, log, durability=server.durability, resume=True)
        assert blocks_done(log) - before < BLOCKS * 3 // 4
        check_slow_write(place)


WRITERS = ["sqlite", "lmdb", "zip", "s3", "redis", "mongodb", "azure", "gcs", "hdfs", "webhdfs", "sftp by sshfs"]


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_that_dies(name, tmp_path):
    """A process killed in the middle of a write: another one goes on, with what was noted."""
    kind = KINDS[name]
    kind.require()
    place, log = kind.place(tmp_path), tmp_path / "log"
    command = [sys.executable, rounds.__file__, place.url, json.dumps(place.options or {}), str(log)]
    writer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while blocks_done(log) < BLOCKS // 2 and writer.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert writer.poll() is None, "the write has to be under way still"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    before = blocks_done(log)
    assert before < BLOCKS
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=120)
    again = blocks_done(log) - before
    with dask.config.set(scheduler="threads"):
        check_slow_write(place)
    assert again < BLOCKS - before + 40, "what was noted is not computed again"
