"""The penalty's step beside an optimizer step and a whole training step, in one process and one thread, in turn.

    python benchmarks/penalty.py [--repeats N] [--output FILE]

MiniLM with 77 labels, its three topmost layers and the head trained. CPU time; every round runs every contender
once, in alternating order, so that a busy machine disturbs them alike. Ratios are to the fused AdamW step over the
same tensors of the same round, medians with quartiles. Memory is the peak beyond model, gradients, anchor and
Fisher, in a process of its own.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from environment import environment
from fisher import minilm
from torch import Tensor, nn

from pipeline.ewc.penalty import penalty
from pipeline.ewc.penalty_step import PenaltyStep
from pipeline.modeling.trained import layer_parameters

ADAMW, OURS = "fused AdamW step", "penalty step"
LAMBDA, RATE = 1e-3, 1e-6
BATCH, LENGTHS, CLASSES = 32, (32, 12), 77
LOG_STEPS = 5
Step = Callable[[], object]


class Held:
    """A model with gradients, and an anchor and a Fisher over what is trained of it."""

    def __init__(self) -> None:
        self.model = minilm()
        names = set(layer_parameters(self.model, "top:3"))
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in names)
        self.parameters = {n: p for n, p in self.model.named_parameters() if n in names}
        torch.manual_seed(0)
        for parameter in self.parameters.values():
            parameter.grad = torch.randn_like(parameter) * 1e-3
        self.anchor = {n: p.detach() + 1e-3 * torch.randn_like(p) for n, p in self.parameters.items()}
        self.fisher = {n: torch.rand_like(p) for n, p in self.parameters.items()}

    def size(self) -> int:
        return sum(p.numel() for p in self.parameters.values())


def adamw(held: Held) -> Step:
    optimizer = torch.optim.AdamW(held.parameters.values(), lr=RATE, fused=True)
    return optimizer.step


def ours(held: Held) -> Step:
    return PenaltyStep(held.parameters, held.anchor, held.fisher, LAMBDA).add_gradient_


def ours_with_value(held: Held) -> Step:
    step = PenaltyStep(held.parameters, held.anchor, held.fisher, LAMBDA)
    return lambda: step.add_gradient_(with_value=True)


def proximal(held: Held) -> Step:
    step, rates = (
        PenaltyStep(held.parameters, held.anchor, held.fisher, LAMBDA),
        [RATE] * len(held.parameters),
    )
    return lambda: step.pull_(rates)


def bf16_fisher(held: Held) -> Step:
    halved = {name: tensor.bfloat16() for name, tensor in held.fisher.items()}
    return PenaltyStep(held.parameters, held.anchor, halved, LAMBDA).add_gradient_


def whole_tensors(held: Held) -> Step:
    """Every difference formed before any is used: two temporaries of the model's size."""
    parameters: list[Tensor] = list(held.parameters.values())
    anchor = list(held.anchor.values())

    def step() -> None:
        with torch.no_grad():
            deltas = torch._foreach_sub(parameters, anchor)
            for parameter, pull in zip(
                parameters, torch._foreach_mul(deltas, list(held.fisher.values())), strict=True
            ):
                assert parameter.grad is not None
                parameter.grad.add_(pull, alpha=2 * LAMBDA)

    return step


def autograd(held: Held) -> Step:
    """The penalty as a term of the loss, and backward through it."""
    parameters: dict[str, Tensor] = dict(held.parameters)

    def step() -> None:
        penalty(parameters, held.anchor, held.fisher, LAMBDA).backward()  # type: ignore[no-untyped-call]

    return step


CONTENDERS: dict[str, Callable[[Held], Step]] = {
    ADAMW: adamw,
    OURS: ours,
    "penalty step, with its value": ours_with_value,
    "penalty step, Fisher in bf16": bf16_fisher,
    "proximal step": proximal,
    "foreach over whole tensors": whole_tensors,
    "autograd": autograd,
}


def training_step(held: Held, length: int) -> Step:
    """Forward, backward, clipping and optimizer for one batch, without a penalty."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(1000, 30000, (BATCH, length), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    parameters = list(held.parameters.values())
    optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(held.model(**batch).logits, labels).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def cpu_seconds(work: Step) -> float:
    """Of this process, which has one thread."""
    before = time.process_time()
    work()
    return time.process_time() - before


def timed(rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each contender in each round; the first two warm up."""
    held = Held()
    held.model.train()
    trained = {f"training step, B={BATCH}, T={length}": training_step(held, length) for length in LENGTHS}
    steps = {name: make(held) for name, make in CONTENDERS.items()} | trained
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(rounds + 2):
        for name in list(steps) if index % 2 else list(steps)[::-1]:
            spent = cpu_seconds(steps[name])
            if index > 1:
                seconds[name].append(spent)
    return seconds


def peak_megabytes(contender: str) -> float:
    """Peak memory of three steps beyond what is held, in a fresh process."""
    command = [sys.executable, __file__, "--peak", contender]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def print_peak(contender: str) -> None:
    """What `peak_megabytes` asks of its child."""
    held = Held()
    step = CONTENDERS[contender](held)
    for tensors in (held.parameters, held.anchor, held.fisher):
        sum(float(tensor.sum()) for tensor in tensors.values())
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins here (Linux)
    before = _resident("VmRSS")
    for _ in range(3):
        step()
    print((_resident("VmHWM") - before) / 1024)


def _resident(field: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


def quartiles(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "penalty.json")
    parser.add_argument("--peak", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if options.peak is not None:
        print_peak(options.peak)
        return
    seconds = timed(options.repeats)
    size = Held().size()
    result: dict[str, Any] = {"environment": environment(), "trained parameters": size, "contenders": {}}
    print(f"{size:,} trained parameters, {4 * size / 2**20:.0f} MiB a copy")
    print(f"{'':32}{'CPU ms':>9}{'of AdamW':>10}{'quartiles':>16}{'peak MiB':>10}")
    for name, times in seconds.items():
        ratio = quartiles([mine / base for mine, base in zip(times, seconds[ADAMW], strict=True)])
        peak = peak_megabytes(name) if name in CONTENDERS else float("nan")
        row = {"milliseconds": quartiles([1000 * t for t in times]), "of AdamW": ratio}
        result["contenders"][name] = row | ({"peak_mebibytes": peak} if name in CONTENDERS else {})
        print(
            f"{name:32}{row['milliseconds']['median']:9.2f}{ratio['median']:10.2f}{ratio['low']:8.2f}{ratio['high']:8.2f}"
            f"{peak:10.1f}",
            flush=True,
        )
    plain, valued = (statistics.median(seconds[name]) for name in (OURS, "penalty step, with its value"))
    with_logging = ((LOG_STEPS - 1) * plain + valued) / LOG_STEPS
    for length in LENGTHS:
        whole = statistics.median(seconds[f"training step, B={BATCH}, T={length}"])
        shares = {
            "penalty step": plain / whole,
            f"with its value every {LOG_STEPS} steps": with_logging / whole,
        }
        result[f"share of a training step, T={length}"] = shares
        print(
            f"T={length}: {100 * plain / whole:.2f}% of a training step, {100 * with_logging / whole:.2f}% with logging"
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
