"""Which device and precision a run uses."""

import os
import re

import torch

from pipeline.errors import UsageError


def choose_device(request: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` to a device.

    With one process, only the chosen GPU is left visible: the Trainer would otherwise spread a batch
    over all GPUs with DataParallel.

    Raises:
        UsageError: when the device does not exist or the request has another form.
    """
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", request, re.ASCII) is None:
        raise UsageError(f"--device {request}: expected auto, cpu, cuda or cuda:N")
    if request == "cpu" or (request == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    index = int(request.partition(":")[2] or 0)
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise UsageError(f"--device {request}: torch sees {torch.cuda.device_count()} CUDA device(s)")
    if "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The autocast type for `auto`, `fp32` or `bf16`; None for plain fp32."""
    if precision == "bf16":
        return torch.bfloat16
    if precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return None


def torch_facts() -> dict[str, str | None]:
    """What decides the bits of a result beside the seed: CPU capability and GPU name."""
    facts: dict[str, str | None] = {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
    if torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts
