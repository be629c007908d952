"""Every Python snippet of the documentation runs, page by page, from the top to the bottom."""

from pathlib import Path

import pytest
import torch

from .pages import PAGES, ROOT, blocks, name_of

WITH_SNIPPETS = [page for page in PAGES if blocks(page, "python")]


def test_the_mathematics_has_snippets() -> None:
    assert ROOT / "docs/mathematics.md" in WITH_SNIPPETS


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=name_of)
def test_the_snippets_of_a_page_run_one_after_the_other(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    state = torch.get_rng_state()
    names: dict[str, object] = {"__name__": "snippet"}
    try:
        for block in blocks(page, "python"):
            padded = "\n" * (block.line - 1) + block.text  # so that a failure names the page's own line
            exec(compile(padded, str(page), "exec"), names)
    finally:
        torch.set_rng_state(state)
