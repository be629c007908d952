"""Which device and precision a run uses."""

import os

import torch

from pipeline.errors import UsageError


def choose_device(request: str) -> torch.device:
    """`auto`, `cpu` or `cuda` to a device: under accelerate the GPU of the process, else the first that is visible.

    Raises:
        UsageError: when there is no GPU, or the request has another form.
    """
    if request not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {request}: expected auto, cpu or cuda. Choose one of several GPUs with CUDA_VISIBLE_DEVICES=N"
        )
    if request == "cpu" or (request == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no CUDA device. Take --device cpu, or auto")
    index = int(os.environ.get("LOCAL_RANK", "0"))
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
