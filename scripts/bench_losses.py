"""Time and memory of every loss on the menu, forward and backward, beside those of kd.

    python -m scripts.bench_losses [--small] [--check] [--only crd rkd] [--device cpu]

Batches of 256 samples, 1000 classes, maps of 256 x 14 x 14, 197 tokens of 256, embeddings of 256 and 512, a bank of
50,000 rows; --small is a quick look at far less. One core. Each loss has a process of its own, made by a fork, so that
nothing of the one before it counts. Memory is the most that the process held at a time over what it held before: VmHWM
of Linux, set back before the call, with every block of 64 KB and more given back to the system as soon as it is free;
on a GPU it is what torch's allocator says.

What is checked: no loss holds more than six times what it is given and what the pairs that it compares come to: B x B
samples, C x C classes, for each sample c x c channels or tokens x tokens by heads, B x K rows of a bank, and a working
space of 8 MB. One tensor of B x c_s x c_t x places or of B^3 x D would be hundreds of times that. Angles of triples are
taken in parts: rkd stays below one tensor of B^3, where all angles at once need six.
"""

import argparse
import ctypes
import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from core.errors import UserConfig
from models.spec.losses.menu import ENTRIES, tag
from models.spec.losses.term import LossTerm, TapPair
from worker.engine.outputs import Batch, Outputs
from worker.engine.term import Term

#: An entry of the menu, and the fields in which it departs from its defaults.
Choice = tuple[type[LossTerm], dict[str, Any]]

FLOAT = 4
#: So many tensors of the allowed sizes may be alive at a time, what autograd keeps among them.
TIMES = 6
#: Numbers of a part, where a loss takes something in parts.
WORKSPACE = 1 << 21
#: Runs after the one that is watched for its memory, while there is time.
RUNS, SECONDS = 5, 2.0
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt(3)


@dataclass(frozen=True)
class Sizes:
    """How much is compared."""

    B: int = 256
    classes: int = 1000
    channels: int = 256
    side: int = 14
    embedding: int = 256
    rows: int = 50_000

    @property
    def tokens(self) -> int:
        """Of a transformer: each place of the map, and the class."""
        return self.side**2 + 1

    def features(self) -> dict[str, tuple[int, ...]]:
        """What a term may be given; the first that it takes is used."""
        maps = self.channels, self.side, self.side
        return {
            "map": maps,
            "next": maps,
            "tokens": (self.tokens, self.channels),
            "qkv": (self.tokens, 3 * self.channels),
        }


#: Taps that are tried, from the most usual on.
TAPS: list[list[str]] = [["map"], ["map", "next"], ["tokens"], ["qkv"]]


@dataclass(frozen=True)
class Measured:
    """What one loss took: seconds forward and backward, bytes at the most, and how many it may take."""

    forward_s: float
    backward_s: float
    peak: int
    limit: int
    given: int

    @property
    def total_s(self) -> float:
        """Both."""
        return self.forward_s + self.backward_s


def main() -> None:
    """Prints the table; with --check, exits with 1 where a check fails."""
    args = _arguments()
    torch.set_num_threads(1)
    sizes = Sizes(64, 100, 64, 7, 64, 2000) if args.small else Sizes()
    measured = {name: _apart(spec, sizes, args.device) for name, spec in _specs() if _wanted(name, args.only)}
    console = Console(width=110)
    console.print(_table(measured, sizes))
    failures = list(_checks(measured, sizes))
    for line in failures:
        console.print(f"[red]FAILED[/red] {line}")
    console.print(f"{len(measured)} losses, {len(failures)} checks failed. torch {torch.__version__}, {args.device}")
    sys.exit(1 if failures and args.check else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], help="types of losses; kd is always there, to compare with")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def _wanted(name: str, only: list[str]) -> bool:
    return not only or name.split(maxsplit=1)[0] in {"kd", *only}


def _specs() -> Iterator[tuple[str, Choice]]:
    """Every entry with its defaults, and each other form of those that have one."""
    for entry in sorted(ENTRIES, key=lambda entry: tag(entry) != "kd"):
        yield tag(entry), (entry, {})
        form = entry.model_fields.get("form")
        if form is not None:
            for other in set(form.annotation.__args__) - {form.default}:  # type: ignore[union-attr]
                yield f"{tag(entry)} {other}", (entry, {"form": other})


def _apart(what: Choice, sizes: Sizes, device: str) -> Measured:
    """The measurement, in a process of its own. A GPU cannot be taken across a fork: there it is this one."""
    if device != "cpu":
        return _measure(*what, sizes, torch.device(device))
    parent, child = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_send, args=(child, what, sizes))
    process.start()
    child.close()
    try:
        measured: Measured = parent.recv()
    except EOFError:
        sys.exit(f"the process of {tag(what[0])} died: most likely it ran out of memory")
    finally:
        process.join()
    return measured


def _send(child: Any, what: Choice, sizes: Sizes) -> None:
    child.send(_measure(*what, sizes, torch.device("cpu")))


def _measure(entry: type[LossTerm], fields: dict[str, Any], sizes: Sizes, device: torch.device) -> Measured:
    torch.manual_seed(0)
    spec, loss, student, teacher = _made(entry, fields, sizes, device)
    loss.prepare(torch.arange(sizes.rows))
    loss.to(device)
    leaves = [x.requires_grad_() for x in _tensors(student)]
    y = torch.randn(sizes.B, device=device) if _is_regression(entry) else torch.arange(sizes.B, device=device) % 7
    batch = Batch(y, torch.arange(sizes.B, device=device), progress=0.5)

    def run() -> tuple[float, float]:
        loss.zero_grad()
        for leaf in leaves:
            leaf.grad = None
        start = _now(device)
        value = loss(student, teacher, batch)
        between = _now(device)
        value.backward()
        return between - start, _now(device) - between

    run()  # what is loaded and set up once is not the loss's
    for x in [*leaves, *loss.parameters()]:
        x.grad = None
    with _Watch(device) as watch:
        run()
    times: list[tuple[float, float]] = []
    until = time.monotonic() + SECONDS
    while not times or (len(times) < RUNS and time.monotonic() < until):
        times.append(run())
    given = sum(x.nbytes for x in [*leaves, *_tensors(teacher)])
    limit = TIMES * (given + _pairs(spec, loss, sizes)) + 2 * sum(p.nbytes for p in loss.parameters())
    return Measured(median(f for f, _ in times), median(b for _, b in times), watch.peak, limit, given)


def _made(
    entry: type[LossTerm], fields: dict[str, Any], sizes: Sizes, device: torch.device
) -> tuple[LossTerm, Term, Outputs, Outputs]:
    """The first taps that the loss takes, and outputs with no more than it reads."""
    kind = getattr(import_module(f"worker.losses.{tag(entry)}"), entry.__name__)
    for names in TAPS if entry.needs_taps else [[]]:
        taps = {"taps": [TapPair(student=name, teacher=name) for name in names]} if names else {}
        student, teacher = (_said(entry, names, sizes, times, device) for times in (1, 2))
        try:
            spec = entry(**fields, **taps)
            return spec, kind(spec, student, teacher), student, teacher
        except UserConfig:
            continue
    raise AssertionError(f"{tag(entry)} takes none of the features here: add to TAPS what it takes")


def _said(entry: type[LossTerm], names: list[str], sizes: Sizes, times: int, device: torch.device) -> Outputs:
    num = 1 if _is_regression(entry) else sizes.classes
    features = {name: torch.randn(sizes.B, *sizes.features()[name], device=device) for name in names}
    embedding = torch.randn(sizes.B, times * sizes.embedding, device=device) if entry.needs_embedding else None
    return Outputs(torch.randn(sizes.B, num, device=device), features, embedding)


def _is_regression(entry: type[LossTerm]) -> bool:
    return all("regression" in task for task in entry.tasks)


def _tensors(said: Outputs) -> list[Tensor]:
    return [x for x in (said.logits, said.embedding, *said.features.values()) if x is not None]


def _pairs(spec: LossTerm, loss: Term, sizes: Sizes) -> int:
    """Bytes of one tensor of all pairs that the loss may compare."""
    pairs = WORKSPACE + sizes.B * sizes.B + (sizes.classes**2 if spec.same_outputs else 0)
    if spec.needs_taps:
        # Channels with channels or, where heads of attention are compared, tokens with tokens for each of them.
        heads = 3 * getattr(spec, "heads", 0)
        pairs += sizes.B * max(sizes.channels**2, heads * sizes.tokens**2)
    if spec.most_rows() is not None:
        pairs += sizes.B * int(getattr(spec, "negatives", 0)) + sum(b.numel() for b in loss.buffers())
    return FLOAT * pairs


class _Watch:
    """The most bytes that were held at a time since the start, over those held then."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.peak = device, 0

    def __enter__(self) -> "_Watch":
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 1 << 16)
        libc.mallopt(_TRIM_THRESHOLD, 1 << 16)
        libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _held("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        now = torch.cuda.max_memory_allocated() if self._device.type == "cuda" else _held("VmHWM")
        self.peak = now - self._before


def _held(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _table(measured: dict[str, Measured], sizes: Sizes) -> Table:
    table = Table(title=f"B={sizes.B}, C={sizes.classes}, maps {sizes.channels} x {sizes.side} x {sizes.side}")
    table.add_column("loss")
    for name in ("given MB", "forward ms", "backward ms", "time / kd", "peak MB", "peak / kd", "may take MB"):
        table.add_column(name, justify="right")
    kd = measured["kd"]
    for name, m in measured.items():
        table.add_row(
            name,
            f"{m.given / 1e6:.1f}",
            f"{m.forward_s * 1e3:.1f}",
            f"{m.backward_s * 1e3:.1f}",
            f"{m.total_s / kd.total_s:.1f}",
            f"{m.peak / 1e6:.1f}",
            f"{m.peak / max(kd.peak, 1):.1f}",
            f"{m.limit / 1e6:.0f}",
        )
    return table


def _checks(measured: dict[str, Measured], sizes: Sizes) -> Iterator[str]:
    """What each loss does that it must not."""
    for name, m in measured.items():
        if m.peak > m.limit:
            yield f"{name} takes {m.peak / 1e6:.0f} MB where the arithmetic allows {m.limit / 1e6:.0f} MB"
    triples = FLOAT * sizes.B**3
    if "rkd" in measured and sizes.B >= 256 and measured["rkd"].peak > triples:
        yield f"rkd takes {measured['rkd'].peak / 1e6:.0f} MB and B^3 is {triples / 1e6:.0f} MB: angles taken at once"


if __name__ == "__main__":
    main()
