"""Personal data in texts replaced by what it is: best effort, by form and check digits, for teams that may not keep it."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

Masked = Literal["email", "iban", "card", "ip", "phone"]
_FORMS: dict[Masked, re.Pattern[str]] = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "iban": re.compile(
        r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
    ),
    "card": re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])"),
    "ip": re.compile(
        r"(?<![\w:.])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:]|\.\d)"
    ),
    "phone": re.compile(r"(?<![\w+])(?:\+|00)?\(?\d(?:[ ()./-]{0,2}\d){8,14}(?![\w-])"),
}
"""In the order in which they are looked for: what is a card is no phone number."""
_LONGEST = 320
"""Characters of the longest e-mail address (RFC 3696); the others are shorter."""


def mask(text: str, kinds: Collection[Masked]) -> tuple[str, Counter[str]]:
    """The text with every e-mail address, IBAN, card or phone number and IP address as `[email]` and so on.

    Args:
        kinds: which of them.

    Returns:
        The text, and how many of each were replaced.
    """
    found: Counter[str] = Counter()
    for kind, form in _FORMS.items():
        if kind in kinds:
            text, count = _replaced(text, form, kind)
            found[kind] += count
    return text, +found


def shortened(text: str, length: int) -> str:
    """The text, or where it is longer its beginning and three dots, with nothing cut in two that could be personal data.

    Half an address or number is not known by its form any more, and would not be masked.

    Args:
        length: characters at most.
    """
    if len(text) <= length:
        return text
    end = length - 3
    seen = text[: end + _LONGEST]
    for kind, form in _FORMS.items():
        for match in form.finditer(seen):
            if match.start() < end < match.end() and _CHECKS.get(kind, bool)(match[0]):
                end = match.start()
    return text[:end] + "..."


@dataclass
class Masking:
    """`mask` of some kinds, for all texts of a month, and what it replaced so far."""

    kinds: Collection[Masked]
    found: Counter[str] = field(default_factory=Counter)

    def __call__(self, text: str) -> str:
        """The text without personal data; counted."""
        if not self.kinds:
            return text
        masked, found = mask(text, self.kinds)
        self.found.update(found)
        return masked


def _replaced(text: str, form: re.Pattern[str], kind: Masked) -> tuple[str, int]:
    count = 0

    def replacement(match: re.Match[str]) -> str:
        nonlocal count
        if not _CHECKS.get(kind, bool)(match[0]):
            return match[0]
        count += 1
        return f"[{kind}]"

    return form.sub(replacement, text), count


def _is_card(number: str) -> bool:
    """By the check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(sign) for sign in number if sign.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """By the check digits of ISO 13616 (modulo 97)."""
    plain = text.replace(" ", "").upper()
    turned = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_CHECKS: dict[Masked, Callable[[str], bool]] = {"card": _is_card, "iban": _is_iban, "ip": _is_address}
