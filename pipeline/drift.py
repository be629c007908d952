"""How one table of rows differs from another, without a model: labels, words, and texts as bags of words.

Everything here is pure, and says the same whatever the order in which counts are given; texts are to come in an order that
depends on their rows alone.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.special import gammaincc

from pipeline.normal_text import normalise

PERMUTATIONS = 999
"""The smallest p value of a permutation test is one over one more."""
FEWEST_EXPECTED = 5.0
"""Below it in any cell (Cochran 1954) the chi-square distribution does not hold, and p comes from permutations."""
FEWEST_NAMED = 2
"""A new word is named where so many rows have it: what one row alone has is mostly a name or a slip."""
CHARACTERS_READ = 1000
"""Of each text, in the test of texts: it bounds the time."""
_MOST_DRAWS = 4_000_000
_ROUNDING = 1e-9
"""Sums of the same numbers in another order may differ by this much."""
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+")
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese, which put no spaces between words."""


@dataclass(frozen=True)
class LabelShift:
    """How the labels of a table are shared out, against another table's.

    Attributes:
        cramers_v: the effect size, 0 (alike) to 1 (no label in common); of two tables it is Cohen's w over 1, so that 0.1
            is small, 0.3 medium and 0.5 large.
        total_variation: the share of rows that would need another label, 0 to 1.
        p: chance of a chi-square as large where both tables are drawn alike.
        by_permutation: whether p was drawn, as some expected counts are small.
        changed: labels to their share (before, now), that which changed most first.
    """

    cramers_v: float
    total_variation: float
    p: float
    by_permutation: bool
    changed: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class NewWords:
    """Words that another table's texts do not have.

    Attributes:
        share: of all words, repetitions counted.
        distinct: how many different ones.
        rows: the words that several rows have, to how many rows, the most frequent first.
    """

    share: float
    distinct: int
    rows: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class TextShift:
    """Whether two samples of texts are from one source.

    Attributes:
        mmd2: the squared maximum mean discrepancy, unbiased, so that it is around 0, and as often below, where they are:
            how alike two texts of one sample are, beyond two texts of different samples (cosine of their words).
        p: chance of one as large where they are.
    """

    mmd2: float
    p: float


def label_shift(now: Mapping[str, int], before: Mapping[str, int], *, seed: int) -> LabelShift:
    """Test whether two tables have their labels in the same shares: Pearson's chi-square of the 2 x K table of counts.

    chi2 = sum over both tables and all labels of (count - expected)^2 / expected, and V = sqrt(chi2 / N). Where an
    expected count is below `FEWEST_EXPECTED`, p is the share of tables with the same margins, drawn from the multivariate
    hypergeometric distribution, whose chi-square is as large: (1 + those) / (1 + draws).

    Args:
        now, before: rows of each label; a label that is absent has none.
        seed: of the draws.

    Returns:
        The effect, its p value in (0, 1], and what changed most.

    Raises:
        ValueError: a table has no row.

    Source: Pearson 1900; Cramer 1946, section 21.9; Cochran 1954 for the small counts; Phipson and Smyth 2010 for the one.
    """
    labels = sorted(label for label in {*now, *before} if now.get(label, 0) + before.get(label, 0))
    a = np.array([now.get(label, 0) for label in labels], dtype=np.int64)
    b = np.array([before.get(label, 0) for label in labels], dtype=np.int64)
    if not a.sum() or not b.sum():
        raise ValueError(f"{a.sum()} and {b.sum()} rows: expected at least one in each table")
    both, total = a + b, int(a.sum() + b.sum())
    expected = both * (int(a.sum()) / total)

    def chi_square(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        # the two cells of a label differ by the same amount from what is expected of them
        squares = (counts - expected) ** 2
        return np.asarray((squares / expected + squares / (both - expected)).sum(axis=-1))

    found = float(chi_square(a))
    small = bool(min(expected.min(), (both - expected).min()) < FEWEST_EXPECTED)
    if len(labels) == 1:
        p = 1.0
    elif small:
        draws = min(PERMUTATIONS, max(_MOST_DRAWS // len(labels), 199))
        drawn = np.random.default_rng(seed).multivariate_hypergeometric(both, int(a.sum()), size=draws)
        p = (1 + int((chi_square(drawn) >= found * (1 - _ROUNDING)).sum())) / (1 + draws)
    else:
        p = float(gammaincc((len(labels) - 1) / 2, found / 2))
    shares = list(zip(labels, (b / b.sum()).tolist(), (a / a.sum()).tolist(), strict=True))
    return LabelShift(
        cramers_v=float(np.sqrt(found / total)),
        total_variation=sum(abs(after - share) for _, share, after in shares) / 2,
        p=p,
        by_permutation=small and len(labels) > 1,
        changed=tuple(sorted(shares, key=lambda item: (-abs(item[2] - item[1]), item[0]))),
    )


def words_of(text: str) -> list[str]:
    """A text's words in the form in which texts are compared; of scripts without spaces, pairs of neighbouring letters."""
    normal = normalise(text)
    if normal.isascii() or not _WITHOUT_SPACES.search(normal):
        return normal.split()
    words = []
    for part in re.split(f"({_WITHOUT_SPACES.pattern})", normal):
        if _WITHOUT_SPACES.fullmatch(part):
            words += [part[place : place + 2] for place in range(max(len(part) - 1, 1))]
        else:
            words += part.split()
    return words


def vocabulary(texts: Iterable[str]) -> set[str]:
    """All words of some texts, as `words_of` gives them."""
    return {word for text in texts for word in words_of(text)}


def new_words(texts: Iterable[str], known: Collection[str]) -> NewWords:
    """The words of some texts that are not known.

    Args:
        texts: as they are.
        known: the `vocabulary` of all texts that they are compared with: words of those left out would count as new.

    Returns:
        How much of the texts they are, and in how many rows each of them is.
    """
    count = new = 0
    rows: Counter[str] = Counter()
    for text in texts:
        words = words_of(text)
        unknown = [word for word in words if word not in known]
        count += len(words)
        new += len(unknown)
        rows.update(set(unknown))
    named = sorted(
        ((word, n) for word, n in rows.items() if n >= FEWEST_NAMED), key=lambda item: (-item[1], item[0])
    )
    return NewWords(new / count if count else 0.0, len(rows), tuple(named))


def text_shift(
    now: Sequence[str],
    before: Sequence[str],
    *,
    seed: int,
    strata: tuple[Sequence[str], Sequence[str]] | None = None,
) -> TextShift:
    """Test whether two samples of texts are from one source: the kernel two-sample test on bags of words.

    The kernel is the cosine of vectors with log(1 + count) sqrt(idf) for each word, idf over both samples together, which
    no permutation changes. With idf itself rare words would weigh most, and with none the most frequent. MMD^2 = mean k(now, now') + mean k(before, before') - 2 mean k(now, before), means over pairs of different
    texts. p is the share of permutations of the texts between the samples whose MMD^2 is as large: (1 + those) / (1 +
    `PERMUTATIONS`). It is exact in the sense that P[p <= a] <= a where the texts are exchangeable.

    Args:
        now, before: texts, at least two each, in an order that depends on their rows alone.
        seed: of the permutations.
        strata: each text's stratum, such as its label; texts are permuted within one only, so that what differs between
            strata is no evidence. None for a single one.

    Returns:
        The unbiased MMD^2 and its p value in (0, 1].

    Raises:
        ValueError: a sample has fewer than two texts.

    Source: Gretton et al. 2012, "A kernel two-sample test", JMLR 13, lemma 6; Phipson and Smyth 2010 for the one.
    """
    n, m = len(now), len(before)
    if min(n, m) < 2:
        raise ValueError(f"{n} and {m} texts: expected at least two in each sample")
    alike = _cosines([*now, *before])
    np.fill_diagonal(alike, 0.0)
    is_now = np.arange(n + m) < n
    found = float(_mmd2(alike, is_now[None], n, m)[0])
    groups = np.unique([*strata[0], *strata[1]], return_inverse=True)[1] if strata is not None else 0 * is_now
    in_groups = np.argsort(groups, kind="stable")
    keys = np.random.default_rng(seed).random((PERMUTATIONS, n + m))
    permuted = np.empty((PERMUTATIONS, n + m), dtype=bool)
    # sorted by stratum and a random key, the places of a stratum get its texts in a random order
    order = np.argsort(groups[None] + keys, axis=1)
    np.put_along_axis(permuted, order, np.broadcast_to(is_now[in_groups], order.shape), axis=1)
    drawn = _mmd2(alike, permuted, n, m)
    p = (1 + int((drawn >= found - _ROUNDING).sum())) / (1 + PERMUTATIONS)
    return TextShift(found, p)


def _mmd2(
    alike: npt.NDArray[np.float64], is_now: npt.NDArray[np.bool_], n: int, m: int
) -> npt.NDArray[np.float64]:
    """MMD^2 of each row of `is_now` [draws, n + m], which says who is in the first sample; `alike` has a zero diagonal."""
    first = is_now.astype(float)
    sums = first @ alike
    within = (sums * first).sum(axis=1)
    across = sums.sum(axis=1) - within
    rest = alike.sum() - within - 2 * across
    return np.asarray(within / (n * (n - 1)) + rest / (m * (m - 1)) - 2 * across / (n * m))


def _cosines(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Cosine of every two texts' vectors of words, [T, T]; a text without a word is like none."""
    bags = [Counter(words_of(text[:CHARACTERS_READ])) for text in texts]
    places = {word: place for place, word in enumerate(sorted({word for bag in bags for word in bag}))}
    counts = csr_matrix(
        (
            np.array([count for bag in bags for count in bag.values()], dtype=float),
            np.array([places[word] for bag in bags for word in bag], dtype=np.int64),
            np.cumsum([0, *(len(bag) for bag in bags)]),
        ),
        shape=(len(bags), max(len(places), 1)),
    )
    texts_with = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log((1 + len(bags)) / np.maximum(texts_with, 1))
    counts.data = np.log1p(counts.data) * np.sqrt(idf)[counts.indices]  # so that idf is in a product once
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    vectors = counts.multiply(1 / np.where(lengths > 0, lengths, 1)[:, None]).tocsr()
    return np.asarray((vectors @ vectors.T).toarray())
