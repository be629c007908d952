"""From a wording with choices and slots to one message, as a person in a hurry would type it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

import yaml

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_GOLDEN_ONLY_EVERY = 5


@dataclass(frozen=True)
class MonthWords:
    """What one feedback month brings.

    Attributes:
        new: wordings of each label that the catalog did not have before.
        drifted: new wordings of labels that exist since launch.
        confused: for a label, what the model in service says instead.
    """

    new: Mapping[str, Sequence[str]]
    drifted: Mapping[str, Sequence[str]]
    confused: Mapping[str, str]


@dataclass(frozen=True)
class Vocabulary:
    """All words of the help desk, as `vocabulary.yaml` has them."""

    slots: Mapping[str, Sequence[str]]
    openers: Sequence[str]
    closers: Sequence[str]
    launch: Mapping[str, Sequence[str]]
    months: Mapping[str, MonthWords]


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary that ships with the package."""
    text = files("pipeline.helpdesk").joinpath("vocabulary.yaml").read_text(encoding="utf-8")
    raw = yaml.safe_load(text)
    return Vocabulary(
        **{**raw, "months": {month: MonthWords(**words) for month, words in raw["months"].items()}}
    )


def trainable(wordings: Sequence[str]) -> list[str]:
    """The wordings that launch and feedback rows may use; every fifth is kept for golden sets."""
    return [
        wording
        for index, wording in enumerate(wordings)
        if index % _GOLDEN_ONLY_EVERY < _GOLDEN_ONLY_EVERY - 1
    ]


def message(wording: str, words: Vocabulary, random: Random) -> str:
    """One message: the wording with its choices made and slots filled, at times dressed up or mistyped."""
    text = _CHOICE.sub(lambda match: random.choice(match[1].split("|")), wording)
    text = _SLOT.sub(lambda match: random.choice(words.slots[match[1]]), text)
    if random.random() < 0.12:
        text = _mistyped(text, random)
    if random.random() < 0.4:
        text = random.choice(words.openers) + text
    if random.random() < 0.45:
        text += random.choice(words.closers)
    if random.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text


def _mistyped(text: str, random: Random) -> str:
    """The text with two letters swapped or one left out, inside one longer word."""
    words = text.split(" ")
    long_words = [index for index, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long_words:
        return text
    index = random.choice(long_words)
    word = words[index]
    at = random.randrange(1, len(word) - 2)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    words[index] = swapped if random.random() < 0.5 else word[:at] + word[at + 1 :]
    return " ".join(words)
