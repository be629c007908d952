"""The one-file page."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pipeline.evaluation.accuracy_matrix import AccuracyMatrix
from pipeline.evaluation.gate import GateLimits, judge
from pipeline.evaluation.golden import GoldenRow, GoldenSet
from pipeline.evaluation.scorecard import score, scorecard
from pipeline.months import Month
from pipeline.report.contents import (
    Ancestor,
    Drift,
    GroupCell,
    LambdaFrontier,
    LambdaPoint,
    RefusedRows,
    ReportContents,
)
from pipeline.report.page import flip_groups, heat_level, render_page, visible

EVIL = "<script>alert('x')</script>\"&\u202e"
VOID = {"meta", "br", "link", "img", "input", "hr"}


def contents() -> ReportContents:
    """A refused month in which everything that comes from data is hostile."""
    rows = tuple(GoldenRow(f"{EVIL}{i}", EVIL, EVIL, EVIL) for i in range(60))
    prior, own = GoldenSet("2026-01", rows), GoldenSet("2026-02", rows)
    right, wrong = [EVIL] * 60, [f"{EVIL}b"] * 60
    card = scorecard(
        score(own, wrong, right, confidence=0.95),
        [score(prior, right, wrong[:30] + right[30:], confidence=0.95)],
        confidence=0.95,
    )
    return ReportContents(
        month="2026-02",
        attempt="2026-02/001",
        kind="month",
        arm="ewc",
        outcome="refused",
        card=card,
        verdict=judge(card, GateLimits()),
        power=EVIL,
        matrix=AccuracyMatrix(("2026-01", "2026-02"), ("2026-01", "2026-02"), ((90.0, None), (45.0, 80.0))),
        metrics=(
            {"step": 5, "epoch": 1.0, "task_loss": 0.9, "penalty": 0.1, "weight_change": 0.2},
            {"step": 5, "epoch": 1.0, "new_validation_loss": 1.0, "prior_validation_loss": 0.4},
            {"step": 10, "epoch": 2.0, "task_loss": 0.5, "penalty": 0.2, "weight_change": 0.3},
        ),
        deltas=(
            {"group": EVIL, "size": 12, "relative": 0.1, "fisher_mass": 0.2, "weighted_share": 0.9},
            {"group": "classifier", "size": 3, "relative": 0.3, "fisher_mass": None, "weighted_share": None},
        ),
        cells=(GroupCell(EVIL, "query", 0.1, 0.7), GroupCell(EVIL, "norm", 0.1, 0.3)),
        frontier=LambdaFrontier(
            "ewc.lambda",
            (
                LambdaPoint(0.0, 0.5, 0.4, 0.6, -1.0, True),
                LambdaPoint(1.0, 0.1, 0.0, 0.2, -0.9, False),
                LambdaPoint(10.0, 0.0, -0.1, 0.1, -0.8, False),
                LambdaPoint(10.0, 0.01, -0.1, 0.1, -0.8, True),
            ),
            10.0,
            EVIL,
        ),
        counts=(("rows", "12"), ("kinds", EVIL)),
        refused=(RefusedRows(EVIL, (EVIL,), 7),),
        lineage=(Ancestor("2026-01", "2026-01/001", "a" * 64),),
        texts={},
        command=f"retrain run '{EVIL}'",
        facts=(("seed", "0"),),
        hashes=((EVIL, "b" * 64),),
        drift=(
            Drift(EVIL, 1234, "V 0.5", "3%", "MMD² 0.1", "–", (EVIL,), ((EVIL, "1%"),), ((EVIL, "2"),)),
            Drift("2026-01", 9, "V 0.01", "0%", "–", "–", (), (), ()),
        ),
    )


class Balanced(HTMLParser):
    """Proves that every tag is closed in order, and collects tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_hostile_text_is_escaped_everywhere() -> None:
    page = render_page(contents())
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "script" not in parser.tags
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
    assert "\\u202e" in page


def test_page_needs_no_network_no_script_and_no_inline_style() -> None:
    page = render_page(contents())
    parser = Balanced()
    parser.feed(page)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & parser.tags
    assert not {"src", "href", "style", "action"} & parser.attributes
    assert not any(name.startswith("on") for name in parser.attributes)
    assert "url(" not in page
    assert not re.search(r"https?://", page)


def test_policy_allows_the_pages_own_style_alone() -> None:
    page = render_page(contents())
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_verdict_comes_first_and_gives_the_reasons() -> None:
    page = render_page(contents())
    verdict = contents().verdict
    assert verdict is not None
    assert verdict.reasons
    places = [
        page.index("refused</p>"),
        page.index("all prior golden rows"),
        page.index("Every month's model"),
    ]
    assert places == sorted(places)


def test_equal_contents_give_equal_pages() -> None:
    assert render_page(contents()) == render_page(contents())


def test_page_of_an_attempt_that_recorded_nothing_yet_is_drawn() -> None:
    bare = replace(
        contents(),
        card=None,
        verdict=None,
        matrix=AccuracyMatrix((), (), ()),
        metrics=(),
        deltas=(),
        cells=(),
        frontier=None,
        counts=(),
        refused=(),
        lineage=(),
        hashes=(),
    )
    page = render_page(bare)
    assert "Not evaluated." in page
    assert "<svg" not in page


def test_drift_is_told_against_each_month_and_left_out_where_it_was_not_measured() -> None:
    page = render_page(contents())
    assert "Against 2026-01: nothing beyond chance." in page
    assert "<td>1,234</td>" in page
    assert page.count("New words against") == page.count("Labels whose share changed most against") == 1
    assert "<h3>Drift</h3>" not in render_page(replace(contents(), drift=()))


def test_texts_are_shown_only_when_they_are_given() -> None:
    shown = contents()
    assert shown.card is not None
    flip = shown.card.flips[0]
    assert "--include-text" in render_page(shown)
    page = render_page(replace(shown, texts={(flip.golden, flip.id): "my secret words"}))
    assert "my secret words" in page


def test_flips_are_grouped_by_label_pair_the_largest_first() -> None:
    rows = tuple(GoldenRow(str(i), "t", "a", "") for i in range(4))
    golden = score(GoldenSet("g", rows), ["a"] * 4, ["c", "b", "b", "a"], confidence=0.95)
    groups = flip_groups(golden.flips, {}, lost=True)
    assert [(g.first, g.second, g.count) for g in groups] == [("a", "b", 2), ("a", "c", 1)]
    assert flip_groups(golden.flips, {}, lost=False) == []


def test_rare_label_pairs_are_folded_away() -> None:
    rows = tuple(GoldenRow(str(i), "t", "a", "") for i in range(20))
    golden = score(GoldenSet("2026-01", rows), ["a"] * 20, [f"b{i}" for i in range(20)], confidence=0.95)
    page = render_page(replace(contents(), card=scorecard(None, [golden], confidence=0.95)))
    assert page.index("b19") < page.index("8 more label pairs") < page.index("<bdi>b9<")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []


@pytest.mark.parametrize(("value", "level"), [(0.0, 1), (0.5, 5), (1.0, 9)])
def test_heat_rises_evenly(value: float, level: int) -> None:
    assert heat_level(value, 0.0, 1.0) == level
    assert heat_level(value, 1.0, 1.0) == 1


def test_control_characters_and_lone_surrogates_become_visible() -> None:
    assert visible("a\x00b\x1b[31m\ud800é") == "a\\x00b\\x1b[31m\\ud800é"


def years(months: int) -> ReportContents:
    """A month that follows on many."""
    names = tuple(str(Month(2026, 1).shifted(i)) for i in range(months))
    sets = [
        GoldenSet(name, tuple(GoldenRow(str(i), f"t{i}", "a", f"part of {name}") for i in range(50)))
        for name in names
    ]
    scores = [score(item, ["a"] * 50, ["a"] * 50, confidence=0.95) for item in sets]
    card = scorecard(scores[-1], scores[:-1], confidence=0.95)
    matrix = AccuracyMatrix(names, names, tuple((100.0,) * months for _ in names))
    return replace(contents(), card=card, verdict=judge(card, GateLimits()), matrix=matrix)


def test_a_years_comparisons_are_all_open_to_see() -> None:
    page = render_page(years(12))
    assert "golden sets between" not in page
    assert 'class="heat many"' not in page


def test_of_three_years_the_comparisons_between_launch_and_newest_are_folded() -> None:
    page = render_page(years(37))
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    shown, found, folded = page.partition("<summary>The golden sets between</summary>")
    assert found
    folded = folded.partition("</details>")[0]
    table = shown.partition("Change against the model before</h2>")[2]
    newest = [str(Month(2028, 3).shifted(i)) for i in range(11)]
    assert all(f"part of {name}<" in table for name in ("2026-01", *newest))
    between = [str(Month(2026, 2).shifted(i)) for i in range(25)]
    assert all(f"part of {name}<" in folded for name in between)
    assert not any(f"part of {name}<" in table for name in between)
    assert 'class="heat many"' in page
