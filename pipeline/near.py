"""Texts that are nearly the same as one of a set, such as the golden rows: found by the words and word pairs they share."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from pipeline.normal_text import normalise

LEAST_ALIKE = 0.8
"""Shared words and pairs over all words and pairs (Jaccard): one word in about fourteen is another."""
_MOST_TEXTS_OF_A_PAIR = 200
"""A pair that more of the texts have says nothing about which one it is."""


class NearTexts:
    """A set of texts that others are compared with, each in the time of its own words.

    Args:
        texts: of any form; equal ones count once.
        least: the Jaccard similarity from which two texts are nearly the same.
    """

    def __init__(self, texts: Iterable[str], *, least: float = LEAST_ALIKE) -> None:
        self.texts = list(dict.fromkeys(texts))
        self.least = least
        self._parts = [parts_of(normalise(text)) for text in self.texts]
        self._of_pair: dict[str, list[int]] = defaultdict(list)
        for place, parts in enumerate(self._parts):
            for part in parts:
                if " " in part:
                    self._of_pair[part].append(place)

    def nearest(self, text: str) -> str | None:
        """The text of the set that is most like this one, if it is nearly the same; of equals the first."""
        return self.nearest_normal(normalise(text))

    def nearest_normal(self, text: str) -> str | None:
        """`nearest` of a text that `normalise` has made."""
        words = text.split()
        pairs = list(dict.fromkeys(map(" ".join, pairwise(words))))
        if not self._may_share_enough(pairs, len(words) + len(pairs)):
            return None
        parts = {*words, *pairs}
        shared: set[int] = set()
        for pair in pairs:
            places = self._of_pair.get(pair)
            if places and len(places) <= _MOST_TEXTS_OF_A_PAIR:
                shared.update(places)
        best, most = None, 0.0
        for place in sorted(shared):
            alike = similarity(parts, self._parts[place])
            if alike >= self.least and alike > most:
                best, most = self.texts[place], alike
        return best

    def _may_share_enough(self, pairs: list[str], parts: int) -> bool:
        """False where so many pairs are in none of the texts that none can have `least` in common with this one.

        A text that has, lacks at most `parts * (1 - least)` of the parts, so that it has one of any few more.
        """
        few = int(parts * (1 - self.least) + 1e-9) + 1
        return len(pairs) < few or any(pair in self._of_pair for pair in pairs[:few])


def parts_of(text: str) -> set[str]:
    """The words of a text in the form in which texts are compared, and its pairs of neighbouring words."""
    words = text.split()
    return {*words, *map(" ".join, pairwise(words))}


def similarity(some: set[str], others: set[str]) -> float:
    """What two sets have in common over what they have together (Jaccard)."""
    common = len(some & others)
    return common / (len(some) + len(others) - common)
