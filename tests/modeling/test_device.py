"""Which device and precision a run uses."""

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.modeling.device import autocast_dtype, choose_device, torch_facts

CPU = torch.device("cpu")


def test_the_cpu_can_always_be_asked_for() -> None:
    assert choose_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu() -> None:
    assert choose_device("auto") == CPU


@pytest.mark.parametrize("request_", ["gpu", "cuda:", "cuda:0", "CPU", "cpu:0"])
def test_another_form_is_a_usage_error(request_: str) -> None:
    with pytest.raises(UsageError, match=r"expected auto, cpu or cuda.*CUDA_VISIBLE_DEVICES"):
        choose_device(request_)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="torch sees no CUDA device"):
        choose_device("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert choose_device("auto").type == "cuda"


def test_precision_decides_the_autocast_type() -> None:
    assert autocast_dtype("fp32", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16
    assert autocast_dtype("auto", CPU) is None


def test_the_facts_name_what_decides_the_bits() -> None:
    assert torch_facts()["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
