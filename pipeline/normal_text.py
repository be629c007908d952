"""Texts in the form in which they are compared: what a reader would call the same is the same."""

import re
import unicodedata

_MEANT = "%#&@"
"""Punctuation, by its category, that says something: 5% is not 5, C# not C."""

_UNSEEN = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}.union(
        range(0x180B, 0x1810), range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)
    )
)
"""What no reader sees, beside the format characters (Cf): fillers, joiners and variation selectors."""


class _Seen(dict[int, str | None]):
    """For `str.translate`: drops the characters that nobody sees, found when they are first met."""

    def __missing__(self, code: int) -> str | None:
        unseen = code in _UNSEEN or unicodedata.category(chr(code)) == "Cf"
        self[code] = None if unseen else chr(code)
        return self[code]


class _Spaced(dict[int, str]):
    """For `str.translate`: makes spaces of punctuation, controls and separators, found when they are first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        meant = category[0] not in "CZP" or character in _MEANT
        self[code] = character if meant else " "
        return self[code]


_SEEN, _SPACED = _Seen(), _Spaced()
_DECIMAL, _MINUS = "\N{DECIMAL SEPARATOR KEY SYMBOL}", "\N{MINUS SIGN}"
"""Stand for the marks that make another number; both are symbols, which stay."""
_FRACTION = re.compile(r"(?<![\d.,])(\d+)[.,](?=\d+(?![.,]?\d))|(?<![\w.,])\.(?=\d+(?![.,]?\d))")
_NEGATIVE = re.compile(r"(?<![\w.,])[-\u2010-\u2015](?=\.?\d)")
_NUMBER_MARK = re.compile(r"[-.,]\d")
"""Without it, neither of the two above is found in an ASCII text."""


def normalise(text: str) -> str:
    """A text as compared with golden rows: what a reader would call the same text is the same.

    NFKC, casefolded, without characters that nobody sees (zero-width, soft hyphens, directions, variation selectors),
    punctuation as spaces, single spaces. Letters' marks and symbols stay, as "5 + 3" is not "5 3" and a vowel sign makes
    another word. So do the marks of a number: -5 is not 5, nor 3.5 the same as 3 5, while 3,5 is 3.5; marks that only
    group digits, as in dates, times, versions and millions, are punctuation. A text of nothing but punctuation stays as
    it is.
    """
    if text.isascii() and not _NUMBER_MARK.search(text):  # what is done to it below changes no more than this
        return " ".join(text.lower().translate(_SPACED).split()) or text.strip()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = unicodedata.normalize("NFKC", folded.translate(_SEEN))
    numbers = _FRACTION.sub(rf"\g<1>{_DECIMAL}", _NEGATIVE.sub(_MINUS, seen))
    spaced = unicodedata.normalize("NFKC", numbers.translate(_SPACED))
    return " ".join(spaced.split()) or text.strip()
