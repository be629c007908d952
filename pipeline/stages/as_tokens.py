"""Texts as the month's model reads them: which are the same to it, which are cut, which hold special tokens."""

import logging
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.stages.stage import RunContext
from pipeline.store.base_models import base_location

SHARE_TO_HOLD = 0.99
AT_A_TIME = 1000
MOST_LOOKED_AT = 20_000
"""Texts whose lengths are counted."""
logger = logging.getLogger("retrain")


@dataclass(frozen=True)
class Lengths:
    """How many tokens texts have, special ones included, beside `model.max_length`.

    Attributes:
        texts: how many there are.
        looked_at: of how many of them this is known; the rest is taken to be alike.
        cut: how many are longer than `model.max_length`, so that the model does not see their end.
        enough: the fewest tokens that hold 99% of them whole; 0 without texts.
    """

    texts: int
    cut: int
    enough: int
    looked_at: int = 0


@dataclass(frozen=True)
class ModelsEye:
    """The tokenizer of the model that a month trains.

    Attributes:
        tokenizer: as transformers loads it.
        max_length: tokens kept of each text.
    """

    tokenizer: Any
    max_length: int

    def tokens(self, texts: Sequence[str]) -> Iterator[tuple[int, ...]]:
        """The token ids of whole texts, a few texts at a time: of long ones they take more memory than the texts."""
        from pipeline.modeling.batches import encode

        for start in range(0, len(texts), AT_A_TIME):
            yield from map(tuple, encode(self.tokenizer, texts[start : start + AT_A_TIME], None))

    def same(self, texts: Iterable[str], as_others: Iterable[str]) -> set[str]:
        """Those of the texts whose token ids are the ids of one of the others: the model cannot tell them apart.

        Texts with a token that the tokenizer does not know are none, as that token stands for anything.
        """
        tested = list(as_others)
        others = set(self.tokens(tested))
        if not others:
            return set()
        # the same tokens come of the same letters, whatever a tokenizer does to case, marks and signs: few need its answer
        letters = {letters_of(text) for text in tested}
        distinct = [text for text in dict.fromkeys(texts) if letters_of(text) in letters]
        unknown = self.tokenizer.unk_token_id
        return {
            text
            for text, ids in zip(distinct, self.tokens(distinct), strict=True)
            if ids in others and unknown not in ids
        }

    def lengths(self, texts: Sequence[str]) -> Lengths:
        """How long the texts are; of very many, every so many-th is looked at."""
        some = texts[:: -(-len(texts) // MOST_LOOKED_AT)] if texts else texts
        counts = sorted(map(len, self.tokens(some)))
        at = max(-(-int(SHARE_TO_HOLD * 100) * len(counts) // 100) - 1, 0)
        cut = sum(count > self.max_length for count in counts)
        in_all = round(cut * len(texts) / len(some)) if some else 0
        return Lengths(len(texts), in_all, counts[at] if counts else 0, len(some))

    def holding_markers(self, texts: Iterable[str]) -> dict[str, int]:
        """The text of each special token that stands in one of the texts, and in how many."""
        from pipeline.modeling.batches import markers

        known = markers(self.tokenizer).values()
        found: dict[str, int] = {}
        for text in texts:
            for marker in known:
                if marker in text:
                    found[marker] = found.get(marker, 0) + 1
        return found


class _Letters(dict[int, str | None]):
    """For `str.translate`: keeps letters alone, found when they are first met."""

    def __missing__(self, code: int) -> str | None:
        self[code] = chr(code) if chr(code).isalpha() else None
        return self[code]


_LETTERS = _Letters()


def letters_of(text: str) -> str:
    """The letters of a text, without case, marks and compatibility forms."""
    if text.isascii():
        return text.lower().translate(_LETTERS)
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return folded.translate(_LETTERS)


def models_eye(context: RunContext) -> ModelsEye:
    """The tokenizer of what the month trains: the base checkpoint, at launch the adopted one; else `model.base`.

    Raises:
        NoInput: there is none. ArtifactCorrupt: it asks for code of its own.
    """
    from pipeline.modeling.checkpoint import load_tokenizer

    root, launch = context.workspace.root, context.launch
    if context.base is not None and not context.recipe.from_scratch:
        location = str(root / context.base.path)
    elif launch is not None and launch.checkpoint is not None:
        location = str(launch.checkpoint)
    else:
        location = base_location(context.config.model.base, root)
    return ModelsEye(
        load_tokenizer(Path(location) if Path(location).is_dir() else location),
        context.config.model.max_length,
    )


def tell_lengths(what: str, lengths: Lengths, max_length: int) -> None:
    """Log how many texts are cut: a warning where more than 1% are, and where nothing is cut nothing."""
    if lengths.cut:
        level = logging.WARNING if lengths.enough > max_length else logging.INFO
        logger.log(
            level,
            "ingest: %s%d of %d texts of %s are longer than model.max_length (%d tokens), and the model does not see their "
            "end; %d tokens would hold 99%% of them",
            "about " if lengths.looked_at < lengths.texts else "",
            lengths.cut,
            lengths.texts,
            what,
            max_length,
            lengths.enough,
        )


def tell_markers(found: Mapping[str, int]) -> None:
    """Log which special tokens stand in texts, where a person may have meant them as such."""
    if found:
        shown = ", ".join(f"{marker!r} in {count}" for marker, count in sorted(found.items()))
        logger.info("ingest: special tokens of the tokenizer stand in texts, and are read as text: %s", shown)
