"""The store's modules load nothing heavy until it is needed."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "numpy", "safetensors", "scipy")


def loaded(module: str, watched: tuple[str, ...]) -> list[str]:
    code = f"import sys, {module}; print([n for n in {watched!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return list(filter(None, done.stdout.strip("[]\n").replace("'", "").split(", ")))


@pytest.mark.parametrize(
    "module", ["fisher_file", "registry", "tables", "verification", "environment", "checkpoints"]
)
def test_no_module_of_the_store_loads_a_heavy_library(module: str) -> None:
    assert loaded(f"pipeline.store.{module}", HEAVY) == []


@pytest.mark.parametrize("module", ["lock", "atomic", "hashing"])
def test_the_lock_and_the_writer_do_not_even_load_pydantic(module: str) -> None:
    assert loaded(f"pipeline.store.{module}", (*HEAVY, "pydantic")) == []
