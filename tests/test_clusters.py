"""Several processes train together: started by Ray, by hand, or by what stands for Slurm."""

import concurrent.futures
import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cluster_jobs
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from segkit import clusters, training
from segkit.clusters import driving, joining, messages, starting
from segkit.config import compose

# Read by Ray when it is imported, which in this process some tests do before segkit does.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

# A batch has 8 images, the last one 5. Plain gradient descent at a low rate: Adam, or many steps at
# a high rate, make much of the rounding in which the ways to add up gradients differ.
TINY = [
    "data=article",
    "data.sizes={train: 205, val: 6}",
    "data.height=24",
    "data.width=24",
    "model.filters=4",
    "model.depth=1",
    "optimizer=sgd",
    "optimizer.learning_rate=0.0005",
    "trainer.epochs=6",
    "trainer.batch_size=8",
    "trainer.precision=float32",
    "trainer.gallery=0",
    "callbacks.tensorboard=null",
    "callbacks.best_model.monitor=null",
]


def command(folder, *overrides):
    return [sys.executable, "-m", "segkit.cli", "train", f"output={folder}", *TINY, *overrides]


def wait_for(found, *runs, seconds=300):
    """What `found` returns once that is something, while all runs go on."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert [run.poll() for run in runs] == [None] * len(runs), "a run ended by itself"
        assert time.monotonic() < end, "it did not get that far"
        time.sleep(0.01)
    return value


def difference(folder, other):
    """The largest difference of trained weights or losses in two run folders.

    Statistics of batch normalisation follow activations, sums over many weights. Scores are counts
    of pixels, of which a few may lie between two classes that are equal but for rounding.
    """
    models = [keras.models.load_model(f / "model.keras") for f in (folder, other)]
    trained, moving = (
        [np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in zip(*pair, strict=True)]
        for pair in (
            [model.trainable_weights for model in models],
            [model.non_trainable_weights for model in models],
        )
    )
    assert len(moving) == 12 and max(moving) < 1e-4
    one, two = (pd.read_csv(f / "history.csv") for f in (folder, other))
    assert list(one.columns) == list(two.columns) and len(one) == len(two) == 6
    apart = (one - two).abs()
    scores = [name for name in apart.columns if "iou" in name]
    assert len(scores) == 10 and np.nanmax(apart[scores].to_numpy()) < 1e-3
    return max(*trained, np.nanmax(apart.drop(columns=scores).to_numpy()))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    training.run(compose("train", [f"output={folder}", *TINY]))
    return folder


def descendants(pid):
    """The command lines of the processes that a process has started, at any remove, by their id."""
    names, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            names[int(path.name)] = (path / "cmdline").read_bytes()
            after_name = (path / "stat").read_text().rpartition(")")[2]
            parents[int(path.name)] = int(after_name.split()[1])

    def is_ours(child):
        return child == pid or child in parents and is_ours(parents[child])

    return {child: name for child, name in sorted(names.items()) if is_ours(child)}


def kill_a_worker(folder):
    """A run on two workers, of which one is killed after two epochs.

    Returns:
        The run, what it printed, how many workers it had, and the address of its Ray.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    variables = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    arguments = command(folder, "trainer=ray", "trainer.workers=2")
    run = subprocess.Popen(arguments, env=variables, **pipes)
    try:
        wait_for(lambda: list(folder.glob("checkpoints/000002-*.npz")), run)
        found = descendants(run.pid)
        workers = [child for child, name in found.items() if b"TrainWorker" in name]
        os.kill(workers[-1], signal.SIGKILL)
        out = run.communicate(timeout=300)[0]
    finally:
        run.kill()
    (address,) = re.findall(rb"raylet\0.*--node_ip_address=([^\0]*)", b"\n".join(found.values()))
    return run, out, len(workers), address


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Begins at once, and goes on beside other tests: it waits for processes most of the time."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    folder = tmp_path_factory.mktemp("killed") / "run"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield folder, pool.submit(kill_a_worker, folder)


@pytest.mark.usefixtures("killed")
def test_two_processes_stop_together_and_compute_what_one_does(tmp_path, alone):
    """Both get SIGTERM in an epoch; what they had is gone on with in this process, alone."""
    folder, ports = tmp_path / "run", free_ports(2)
    runs = []
    for rank in range(2):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        task = {"type": "worker", "index": rank}
        variables = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        runs.append(subprocess.Popen(command(folder), env=os.environ | variables, **pipes))
    try:
        wait_for(lambda: list(folder.glob("checkpoints/000002-*.npz")), *runs)
        for run in runs:
            run.send_signal(signal.SIGTERM)
        ends = [run.communicate(timeout=300) for run in runs]
    finally:
        for run in runs:
            run.kill()
    assert [run.returncode for run in runs] == [143, 143], ends
    assert [out.count("Stopped in epoch") for out, _ in ends] == [1, 1]
    assert "epoch 2/6  loss" in ends[0][0] and "epoch 2/6  loss" not in ends[1][0]
    text = (folder / "train.log").read_text()
    assert text.count("Stopped in epoch") == text.count("epoch 2/6") == 1
    assert "strategy" not in text.lower()
    training.run(compose("train", [f"output={folder}", *TINY]))
    assert difference(folder, alone) < 1e-5


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="module")
def ray(killed):
    """A Ray whose workers find `cluster_jobs`."""
    trainer = compose("train", ["trainer=ray"]).trainer
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
        with starting.connected(trainer) as running:
            yield running


def test_a_mistake_is_told_at_once(ray, monkeypatch, tmp_path, caplog):
    """Nothing starts again, and nobody waits for the worker that is left."""
    monkeypatch.setattr(driving, "connected", lambda trainer: contextlib.nullcontext(ray))
    config = compose("train", ["trainer=ray", f"output={tmp_path}"])
    host = socket.gethostname()
    with pytest.raises(ValueError, match=rf"On worker 1 \({host}\): /there/only: No such file"):
        clusters.run_on_workers(config, cluster_jobs.fails_alone)
    assert not caplog.records and not (tmp_path / ".ray").exists()


def test_ports_of_a_ray_of_our_own_are_on_loopback(ray):
    node = ray.nodes()[0]
    assert node["NodeManagerAddress"] == ray.util.get_node_ip_address() == "127.0.0.1"
    port = node["NodeManagerPort"]
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    # Every address of 127/8 is this machine's, and all but the first stand for other interfaces.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=10)


def test_two_workers_of_ray_end_as_one_process_and_after_a_kill_too(killed, alone):
    folder, outcome = killed
    run, out, workers, address = outcome.result()
    assert (run.returncode, workers, address) == (0, 2, b"127.0.0.1"), out
    assert difference(folder, alone) < 1e-5
    # On the terminal, and in the file, is what one process says, and what happened.
    assert "died. All workers start again, from the last checkpoint (1 of 3 times)." in out
    assert "goes on from epoch" in out and "ray::" not in out and "raylet" not in out
    assert out.count("epoch 6/6") == 1 and out.count("report: ") == 1
    assert sorted(out.splitlines()) == sorted(log_lines(folder))
    assert json.loads((folder / "environment.json").read_text())["command"].startswith("segkit tr")
    assert not (folder / ".ray").exists() and not (folder / "checkpoints").exists()


def log_lines(folder):
    """Every line of the log as it is on the terminal."""
    for line in (folder / "train.log").read_text().splitlines():
        yield line.partition(" INFO ")[2] or line.partition(" WARNING ")[2] or line


@pytest.mark.parametrize(
    "counts, workers, share",
    [([2], 2, 1), ([8, 8], 2, 8), ([8, 2], 2, 4), ([8, 2], 3, 2), ([4], 8, 0), ([], 1, 0)],
)
def test_shares_are_as_large_as_they_can_be(counts, workers, share):
    assert starting.largest_share(counts, workers) == share


class Nodes:
    """Stands for Ray on machines with 4 processors each, and so many GPUs."""

    def __init__(self, *gpus):
        self.gpus = gpus

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": float(g)}} for g in self.gpus]


def test_resources_are_shared(caplog):
    trainer = compose("train", ["trainer=ray"]).trainer
    assert starting.resources(Nodes(0, 0), trainer) == {"CPU": 4}
    assert starting.resources(Nodes(4, 2), trainer) == {"CPU": 4, "GPU": 2}
    trainer.gpus_per_worker = 0
    assert starting.resources(Nodes(4, 2), trainer) == {"CPU": 4} and not caplog.records
    trainer.cpus_per_worker = 3
    assert starting.resources(Nodes(1), trainer) == {"CPU": 3}
    assert "Ray has room for 1 of 2 workers with 3 CPUs and 0 GPUs each" in caplog.text
    trainer.gpus_per_worker = None
    with pytest.raises(ValueError, match="trainer.workers=2, and Ray has 1 GPUs. Take fewer"):
        starting.resources(Nodes(1, 0), trainer)


@pytest.mark.parametrize(
    "override, words",
    [
        ("workers=0", "trainer.workers must be a whole number from 1 on. Received: 0"),
        ("restarts=-1", "trainer.restarts must be a whole number from 0 on"),
        ("cpus_per_worker=0", "trainer.cpus_per_worker must be a whole number from 1 on"),
        ("gpus_per_worker=0.5", "trainer.gpus_per_worker must be a whole number from 0 on"),
        ("address=ray://head:10001", "must be null, auto or HOST:PORT. Received: 'ray://head"),
        ("address=localhost:1", "no Ray at trainer.address=localhost:1. Start one there with"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, override, words):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    overrides = ["trainer=ray", f"trainer.{override}", f"output={tmp_path}"]
    with pytest.raises(ValueError, match=words):
        clusters.run_on_workers(compose("train", overrides), print)


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    config = compose("train", ["trainer=ray", f"output={tmp_path}"])
    with pytest.raises(ValueError, match=r'trainer=ray needs Ray: pip install "segkit\[ray\]"'):
        training.run(config)
    assert list(tmp_path.iterdir()) == [tmp_path / ".claim"]


def test_who_starts_workers(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert clusters.starts_workers(compose("train", ["trainer=ray"]))
    assert not clusters.starts_workers(compose("train"))
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert not clusters.starts_workers(compose("train", ["trainer=ray"]))


def test_an_error_of_ours_in_the_workers_keeps_its_traceback():
    class Failed(Exception):
        worker_failures = {0: TypeError("unheard of"), 1: TypeError("also")}

    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    found = messages.given_up(Failed("Traceback"), restarts=2)
    assert isinstance(found, RuntimeError) and str(found) == "Training failed 3 times. Traceback"
    assert messages.described(Failed.worker_failures) == "Worker 0 failed (TypeError: unheard of)"


def test_workers_that_die_too_often():
    exceptions = pytest.importorskip("ray.exceptions", reason="the extra [ray] is not installed")

    class Failed(Exception):
        worker_failures = {0: TypeError("cut off"), 1: exceptions.ActorDiedError()}

    found = messages.given_up(Failed(), restarts=2)
    assert isinstance(found, ChildProcessError)
    assert str(found).startswith("Worker 1 died, after 2 restarts: it was killed, had no memory")


def test_a_lost_worker_is_said_in_words():
    text = "Collective ops is aborted by: Socket closed"
    with pytest.raises(clusters.WorkerLost, match="Another worker ended.* its own log says why"):
        with clusters.in_words():
            raise tf.errors.UnavailableError(None, None, text)
    with pytest.raises(ValueError, match=text):
        with clusters.in_words():
            raise ValueError(text)


def test_the_log_of_one_worker_is_in_the_file(tmp_path, monkeypatch):
    stream, file = logging.StreamHandler(), logging.FileHandler(tmp_path / "train.log")
    monkeypatch.setattr(logging.root, "handlers", [stream, file])
    clusters.leave_the_log()
    assert logging.root.handlers == [stream]


SLURM = {
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "n[2,10]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_PROCID": "1",
    "SLURM_JOB_ID": "1301",
    "SLURMD_NODENAME": "n2",
}


@pytest.fixture
def task(monkeypatch, tmp_path):
    """Makes this process a task of Slurm, whose `scontrol` knows two machines."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    program = tmp_path / "scontrol"
    program.write_text('#!/bin/sh\n[ "$*" = "show hostnames n[2,10]" ] && echo n2 && echo n10\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def enter(**changed):
        for name, value in (SLURM | changed).items():
            monkeypatch.setenv(name, value)
        clusters.join()
        # As join sets it for the rest of the process.
        found, os.environ["TF_CONFIG"] = os.environ.get("TF_CONFIG"), ""
        return found and json.loads(found)

    return enter


def test_tasks_of_slurm_find_each_other(task):
    assert task() == {
        "cluster": {"worker": ["n2:12816", "n2:12817", "n10:12816"]},
        "task": {"type": "worker", "index": 1},
    }
    assert task(SEGKIT_PORT="5000")["cluster"] == {"worker": ["n2:5000", "n2:5001", "n10:5000"]}
    assert task(SLURM_STEP_NUM_TASKS="1") is None or os.environ["TF_CONFIG"] == ""


def test_what_slurm_cannot_tell(task):
    with pytest.raises(ValueError, match="Task 1 runs on n10, and would on n2 .*=block"):
        task(SLURMD_NODENAME="n10")
    with pytest.raises(ValueError, match="SEGKIT_PORT must be a port. Received: 'x'"):
        task(SEGKIT_PORT="x")
    with pytest.raises(ValueError, match="The machines of this Slurm job, n3, cannot be listed"):
        task(SLURM_STEP_NODELIST="n3")


def test_one_task_and_tasks_with_a_cluster_are_left_alone(monkeypatch):
    for name, value in (SLURM | {"SLURM_STEP_NUM_TASKS": "1", "TF_CONFIG": ""}).items():
        monkeypatch.setenv(name, value)
    clusters.join()
    assert os.environ["TF_CONFIG"] == ""
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("TF_CONFIG", "{}")
    clusters.join()
    assert os.environ["TF_CONFIG"] == "{}"


def test_tasks_of_submitit_on_this_machine(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "")
    for name, value in {"NTASKS": "2", "GLOBALID": "1", "JOB_ID": "7"}.items():
        monkeypatch.setenv(f"SUBMITIT_LOCAL_{name}", value)
    clusters.join()
    found = json.loads(os.environ["TF_CONFIG"])
    assert found["cluster"]["worker"] == ["127.0.0.1:12112", "127.0.0.1:12113"]
    assert found["task"]["index"] == 1


def test_tasks_per_machine_are_written_short():
    assert joining.tasks_per_machine("2(x3),1") == [2, 2, 2, 1]
