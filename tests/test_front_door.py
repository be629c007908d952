"""What a notebook imports: `pipeline` and `pipeline.ewc`, lazily."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["pipeline", "pipeline.ewc"])
def test_every_exported_name_is_there_under_its_own_name(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'fischer'"):
        module.fischer  # noqa: B018


def test_the_packages_load_no_torch_until_a_name_is_used() -> None:
    code = (
        "import sys, pipeline, pipeline.ewc; before = 'torch' in sys.modules; pipeline.merge_online; "
        "print(before, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"
