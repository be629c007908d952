"""How two tables of rows differ: against known values, and by chance as often as the p value says."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from scipy.stats import chi2_contingency, kstest

from pipeline.drift import PERMUTATIONS, label_shift, new_words, text_shift, vocabulary, words_of


def test_chi_square_and_its_effect_are_the_textbooks() -> None:
    found = label_shift({"a": 30, "b": 70}, {"a": 50, "b": 50}, seed=0)
    expected = chi2_contingency([[30, 70], [50, 50]], correction=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.cramers_v == pytest.approx((expected.statistic / 200) ** 0.5)
    assert found.total_variation == pytest.approx(0.2)
    assert not found.by_permutation
    assert found.changed == (("a", 0.5, 0.3), ("b", 0.5, 0.7))


def test_with_small_counts_p_is_that_of_the_permutations() -> None:
    found = label_shift({"a": 3}, {"b": 3}, seed=0)  # 2 of the 20 ways to deal the six rows are as extreme
    assert found.by_permutation
    assert found.p == pytest.approx(2 / 20, abs=0.03)
    assert found.cramers_v == pytest.approx(1.0)
    assert found.total_variation == pytest.approx(1.0)


def test_tables_of_equal_shares_or_of_one_label_have_not_shifted() -> None:
    assert label_shift({"a": 20, "b": 10}, {"a": 200, "b": 100}, seed=0).p == pytest.approx(1.0)
    one = label_shift({"a": 2}, {"a": 90}, seed=0)
    assert (one.p, one.cramers_v, one.by_permutation) == (1.0, 0.0, False)


def test_the_order_of_the_counts_changes_nothing() -> None:
    now, before = {"a": 3, "b": 1, "c": 9}, {"c": 2, "d": 7, "a": 4, "unused": 0}
    turned = label_shift(dict(reversed(now.items())), dict(reversed(before.items())), seed=3)
    assert turned == label_shift(now, before, seed=3)
    assert turned.by_permutation
    assert "unused" not in [label for label, _, _ in turned.changed]


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 and 3 rows: expected at least one"):
        label_shift({}, {"a": 3}, seed=0)


@pytest.mark.parametrize(("rows", "labels", "drawn"), [(400, 4, False), (30, 12, True)])
def test_p_of_labels_is_uniform_where_nothing_shifted(rows: int, labels: int, drawn: bool) -> None:
    rng = np.random.default_rng(1)
    found = [
        label_shift(
            Counter(map(str, rng.integers(labels, size=rows))),
            Counter(map(str, rng.integers(labels, size=2 * rows))),
            seed=seed,
        )
        for seed in range(300)
    ]
    assert {shift.by_permutation for shift in found} == {drawn}
    assert kstest([shift.p for shift in found], "uniform").pvalue > 0.01


def some_texts(rng: np.random.Generator, count: int, *, words: int = 60, start: int = 0) -> list[str]:
    """Texts of six words, of which the first are frequent."""
    drawn = np.minimum(rng.geometric(0.05, size=(count, 6)), words) + start
    return [" ".join(f"w{word}" for word in text) for text in drawn]


def test_p_of_texts_is_uniform_where_nothing_shifted() -> None:
    rng = np.random.default_rng(2)
    found = [text_shift(some_texts(rng, 25), some_texts(rng, 40), seed=seed) for seed in range(200)]
    assert kstest([shift.p for shift in found], "uniform").pvalue > 0.01
    assert abs(np.mean([shift.mmd2 for shift in found])) < 0.002


def test_p_within_strata_is_uniform_where_only_the_strata_differ() -> None:
    rng = np.random.default_rng(3)

    def sample(shares: tuple[int, int]) -> tuple[list[str], list[str]]:
        first, second = some_texts(rng, shares[0]), some_texts(rng, shares[1], start=500)
        return [*first, *second], ["a"] * shares[0] + ["b"] * shares[1]

    within, across = [], []
    for seed in range(150):
        (now, labels), (before, labels_before) = sample((30, 8)), sample((12, 20))
        within.append(text_shift(now, before, seed=seed, strata=(labels, labels_before)).p)
        across.append(text_shift(now, before, seed=seed).p)
    assert kstest(within, "uniform").pvalue > 0.01
    assert np.mean(np.array(across) <= 0.05) > 0.8


def test_texts_of_another_source_are_told_with_the_smallest_p() -> None:
    rng = np.random.default_rng(4)
    now, before = some_texts(rng, 60, start=15), some_texts(rng, 60)
    found = text_shift(now, before, seed=0)
    assert found.p == 1 / (1 + PERMUTATIONS)
    assert found.mmd2 > 0.05
    assert text_shift(now, before, seed=0, strata=(["x"] * 60, ["x"] * 60)).p == found.p


def test_the_discrepancy_is_two_without_a_common_word_and_nothing_between_equal_texts() -> None:
    assert text_shift(["a b"] * 4, ["c d"] * 5, seed=0).mmd2 == pytest.approx(2.0)
    same = text_shift(["a b"] * 4, ["a b"] * 5, seed=0)
    assert same.mmd2 == pytest.approx(0.0, abs=1e-12)
    assert same.p == 1.0


def test_the_discrepancy_is_the_means_of_the_cosines_over_pairs_of_different_texts() -> None:
    now, before = ["a", "b", "a b"], ["a", "c", "c c"]
    texts = [*now, *before]
    vectors = np.zeros((6, 3))
    for row, text in enumerate(texts):
        for column, word in enumerate("abc"):
            idf = np.log(7 / sum(word in other.split() for other in texts))
            vectors[row, column] = np.log1p(text.split().count(word)) * np.sqrt(idf)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = vectors @ vectors.T
    within = np.mean([cosine[i, j] for i, j in product(range(3), repeat=2) if i != j])
    rest = np.mean([cosine[i, j] for i, j in product(range(3, 6), repeat=2) if i != j])
    expected = within + rest - 2 * cosine[:3, 3:].mean()
    assert text_shift(now, before, seed=0).mmd2 == pytest.approx(expected)


def test_texts_without_a_word_and_too_few_of_them_are_no_crash() -> None:
    assert text_shift(["", " "], ["", ""], seed=0).p == 1.0
    with pytest.raises(ValueError, match=r"1 and 2 texts: expected at least two"):
        text_shift(["a"], ["a", "b"], seed=0)


def test_new_words_are_those_that_no_text_has_and_one_rows_word_is_counted_and_not_named() -> None:
    found = new_words(["My eSIM fails", "esim, esim!", "the Card"], vocabulary(["my card fails", "the"]))
    assert found.share == pytest.approx(3 / 7)
    assert (found.distinct, found.rows) == (1, (("esim", 2),))
    once = new_words(["hello Ada Lovelace"], vocabulary(["Hello!"]))
    assert (once.distinct, once.rows) == (2, ())
    assert new_words([], {"a"}).share == 0.0


def test_words_of_scripts_without_spaces_are_pairs_of_letters() -> None:
    assert words_of("Card 7 lost!") == ["card", "7", "lost"]
    assert words_of("我的卡 lost") == ["我的", "的卡", "lost"]
    assert words_of("卡") == ["卡"]
    assert words_of("Stra\u00dfe") == ["strasse"]
