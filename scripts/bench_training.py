"""How fast the U-Net trains: segkit beside stock Keras and PyTorch, on the machine at hand.

    python scripts/bench_training.py [--batch-sizes 8 16] [--only segkit keras] [--json FILE]

All train the same U-Net, with Adam and cross-entropy, on the same batch of random numbers. Each has
a process of its own, which does a few steps when its turn comes and rests in between, so that a
busy machine slows all of them down alike. Shown are the medians of the rounds, and the median, the
least and the greatest of the ratios within a round.

GFLOP/s counts what the convolutions have to compute, forward and backward, and compares it with
what a large product of matrices reaches in the same library and precision. With a GPU, all of it
runs there. With KERAS_BACKEND=jax or torch, Keras runs on that, and segkit's U-Net through
`keras.Model.fit`. What is not installed is left out: pip install -e '.[bench]' has PyTorch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import bench_training_rivals as rivals
import bench_training_torch as pytorch

OURS = "segkit"
REST = 0.3  # seconds before each turn, in which the threads of the one before fall asleep


class Variant(NamedTuple):
    """One way to train: what it is, in which precision, and what makes it of a `Shape`."""

    title: str
    precision: str
    start: Callable[[rivals.Shape], rivals.Trainer]


VARIANTS = {
    OURS: Variant("segkit", "bfloat16", rivals.segkit_loop),
    "segkit-run": Variant("segkit, with the loss and scores of its runs", "bfloat16", rivals.run),
    "segkit-fit": Variant("segkit's U-Net in Keras' fit", "bfloat16", rivals.segkit_fit),
    "keras": Variant("Keras fit, as it comes", "float32", rivals.keras_fit),
    "keras-xla": Variant("Keras fit, XLA", "float32", rivals.keras_fit_xla),
    "keras-bfloat16": Variant("Keras fit, bfloat16, no XLA", "bfloat16", rivals.keras_fit_bfloat16),
    "torch": Variant("PyTorch", "float32", pytorch.torch_eager),
    "torch-bfloat16": Variant("PyTorch, bfloat16", "bfloat16", pytorch.torch_bfloat16),
    "torch-last": Variant("... and channels_last", "bfloat16", pytorch.torch_channels_last),
    "torch-compile": Variant("... and torch.compile", "bfloat16", pytorch.torch_compile),
    "torch-fused": Variant("... and the fused Adam", "bfloat16", pytorch.torch_fused),
}
GEMMS = {
    (library, precision): Variant(f"{library} matmul", precision, partial(gemm, precision))
    for library, gemm in (("keras", rivals.keras_gemm), ("torch", pytorch.torch_gemm))
    for precision in ("float32", "bfloat16")
}


class Worker:
    """A process that trains in one way, and only when told to."""

    def __init__(self, variant: Variant, shape: rivals.Shape):
        context, self.title = multiprocessing.get_context("spawn"), variant.title
        self.pipe, other = context.Pipe()
        started = time.perf_counter()
        work = (other, variant.start, shape)
        self.process = context.Process(target=_work, args=work, daemon=True)
        self.process.start()
        other.close()
        self.facts = self._answer()
        self.first = time.perf_counter() - started
        self.steps = 1

    @property
    def skipped(self) -> str | None:
        """Why there is nothing to measure, if so."""
        return self.facts.get("skipped")

    def warm_up(self, seconds: float) -> None:
        """Finds out how many steps take so long."""
        self.run()
        self.steps = max(2, round(seconds / self.run()))

    def run(self) -> float:
        """Seconds of a step."""
        time.sleep(REST)
        self.pipe.send(self.steps)
        return self._answer()["seconds"] / self.steps

    def stop(self) -> dict[str, Any]:
        """Ends the process; what it found out about itself."""
        found = dict(self.facts)
        if self.process.is_alive() and not self.skipped:
            self.pipe.send(0)
            found |= self._answer()
        self.process.join()
        return found

    def _answer(self) -> dict[str, Any]:
        try:
            answer = self.pipe.recv()
        except EOFError:
            self.process.join()
            answer = {"failed": f"its process ended with {self.process.exitcode}"}
        if "failed" in answer:
            raise RuntimeError(f"{self.title}: {answer['failed']}")
        return answer


def _work(pipe: Any, start: Callable[[rivals.Shape], rivals.Trainer], shape: rivals.Shape) -> None:
    """What a worker does: one step, then as many as it is asked for, until that is 0."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # the libraries have much to say
    try:
        trainer = start(shape)
        trainer.steps(1)
    except ModuleNotFoundError as error:
        return pipe.send({"skipped": f"{error.name} is not installed"})
    except rivals.Unavailable as error:
        return pipe.send({"skipped": str(error)})
    except Exception:
        return pipe.send({"failed": traceback.format_exc()})
    pipe.send({"device": trainer.device, "note": trainer.note})
    while count := pipe.recv():
        before = time.perf_counter()
        trainer.steps(count)
        pipe.send({"seconds": time.perf_counter() - before})
    pipe.send({"memory": _peak(), "device_memory": trainer.device_memory()})


def _peak() -> float:
    """MiB; not ru_maxrss, which starts at what the parent had when it started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(names: list[str], shape: rivals.Shape, rounds: int, seconds: float) -> dict[str, Any]:
    """Lets the variants take turns.

    Returns:
        By name: `rates`, images a second of each round, and the facts of its worker. By "gemm":
        GFLOP/s of the products of matrices, by library and precision.
    """
    chosen = {**{name: VARIANTS[name] for name in names}, **_gemms_of(names)}
    workers = {}
    for key, variant in chosen.items():
        workers[key] = Worker(variant, shape)
        if workers[key].skipped:
            print(f"{variant.title}, {variant.precision}: left out, {workers[key].skipped}")
    turns = {key: worker for key, worker in workers.items() if not worker.skipped}
    for worker in turns.values():
        worker.warm_up(seconds)
    times: dict[Any, list[float]] = {key: [] for key in turns}
    for number in range(rounds):
        order = list(turns)
        for key in order[number % len(order) :] + order[: number % len(order)]:
            times[key].append(turns[key].run())
    found: dict[str, Any] = {"gemm": {}}
    for key, worker in workers.items():
        facts = {**worker.stop(), "first_step": worker.first}
        if key not in GEMMS:
            found[key] = facts | {"rates": [shape.batch / t for t in times.get(key, [])]}
        elif key in turns:
            flops = rivals.gemm_flops(facts["device"])
            found["gemm"]["-".join(key)] = flops / statistics.median(times[key]) / 1e9
    return found


def _gemms_of(names: list[str]) -> dict[Any, Variant]:
    wanted = {(_library(name), VARIANTS[name].precision) for name in names}
    return {key: variant for key, variant in GEMMS.items() if key in wanted}


def _library(name: str) -> str:
    return "torch" if name.startswith("torch") else "keras"


def table(found: dict[str, Any], shape: rivals.Shape) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield f"| batch {shape.batch} | images/s | segkit is faster by | MiB | first, s | GFLOP/s |"
    yield "|---|---|---|---|---|---|"
    for name, facts in found.items():
        if not facts.get("rates"):
            continue
        variant, rate = VARIANTS[name], statistics.median(facts["rates"])
        done = rate * rivals.training_flops(shape) / 1e9
        reached = found["gemm"].get(f"{_library(name)}-{variant.precision}")
        share = "" if reached is None else f", {done / reached:.0%} of matmul"
        memory = f"{facts['memory']:,.0f}"
        if facts["device_memory"] is not None:
            memory += f" + {facts['device_memory']:,.0f}"
        title = ", ".join(filter(None, (variant.title, facts["note"])))
        yield (
            f"| {title} | {rate:.1f} | {_ratio(found, name)} | {memory} "
            f"| {facts['first_step']:.1f} | {done:,.0f}{share} |"
        )


def _ratio(found: dict[str, Any], name: str) -> str:
    # Without TensorFlow, segkit's U-Net in Keras' fit is what there is of segkit.
    measured = [ours for ours in (OURS, "segkit-fit") if found.get(ours, {}).get("rates")]
    if not measured or name == measured[0]:
        return ""
    both = zip(found[measured[0]]["rates"], found[name]["rates"])
    ratios = [mine / theirs for mine, theirs in both]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main(arguments: list[str] | None = None) -> None:
    """Measures, and prints the tables."""
    options = _options(arguments)
    content: dict[str, Any] = {"platform": platform.platform(), "cores": os.cpu_count()}
    for batch in options.batch_sizes:
        shape = rivals.Shape(batch, options.size, options.filters, options.depth, options.classes)
        found = measure(options.only, shape, options.rounds, options.seconds)
        content[f"batch {batch}"] = found | {"shape": shape._asdict()}
        print("\n".join(table(found, shape)))
        gemms = (f"{name} {rate:,.0f}" for name, rate in found["gemm"].items())
        print("matmul, GFLOP/s:", ", ".join(gemms), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 16], help="images")
    parser.add_argument("--size", type=int, default=128, help="pixels, a multiple of 2 ** depth")
    parser.add_argument("--filters", type=int, default=32, help="channels of the first level")
    parser.add_argument("--depth", type=int, default=4, help="poolings")
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7, help="at least 5")
    parser.add_argument("--seconds", type=float, default=2, help="about so long a turn")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    options = parser.parse_args(arguments)
    if options.rounds < 5:
        parser.error(f"--rounds must be at least 5. Received: {options.rounds}.")
    if options.size % (multiple := 2**options.depth):
        parser.error(f"--size must be a multiple of {multiple}. Received: {options.size}.")
    return options


if __name__ == "__main__":
    main()
