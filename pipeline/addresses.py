"""Addresses of databases in the configuration: with variables in place of secrets, which never stand in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import quote, quote_plus

from pipeline.errors import BadConfig

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FORM = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]*://.*", re.DOTALL)
_PASSWORD = re.compile(r"://[^:/@]*:(?P<found>.*)@", re.DOTALL)
_SECRET_OPTION = re.compile(
    r"(?:[?&;]|%3b)\s*\w*(?:pass|password|passwd|pwd|secret|token|(?<!ssl)key)\s*(?:=|%3d)(?P<found>(?:(?!%3b)[^&;])*)",
    re.IGNORECASE,
)
_IN_ITS_PLACE = "put it into an environment variable and name that: ${NAME}"


def address_problem(address: str) -> str | None:
    """What is wrong with an address in a configuration, without a word of it; None where nothing is.

    A configuration is recorded with every run, so that a password must not stand in it.
    """
    if _VARIABLE.fullmatch(address):
        return None
    if not _FORM.fullmatch(address):
        return "expected an address such as sqlite:///feedback.db or postgresql://reader:${DB_PASSWORD}@host/database"
    for pattern in (_PASSWORD, _SECRET_OPTION):
        for match in pattern.finditer(address):
            if match["found"] and not _VARIABLE.fullmatch(match["found"]):
                return f"holds a password, and configurations are recorded: {_IN_ITS_PLACE}"
    return None


def with_variables(address: str, environment: Mapping[str, str], *, where: str) -> str:
    """An address with the values of the environment variables that it names.

    Args:
        address: as the configuration has it. A variable that is all of it is taken as it is; one that stands for a user,
            a password or an option is percent-encoded.
        environment: name to value.
        where: the key of the configuration, for the message.

    Raises:
        BadConfig: a variable is not set, or empty.
    """
    missing = [name for name in _VARIABLE.findall(address) if not environment.get(name)]
    if missing:
        raise BadConfig(
            f"{where}: names the environment variable(s) {', '.join(dict.fromkeys(missing))}, which are not set. Set them "
            "where this command runs"
        )
    whole = _VARIABLE.fullmatch(address)
    if whole:
        return environment[whole[1]].strip()  # files of secrets end with a line feed
    credentials_end, options_start = address.rfind("@"), address.find("?")

    def value(match: re.Match[str]) -> str:
        is_part = match.start() < credentials_end or 0 <= options_start < match.start()
        return quote(environment[match[1]], safe="") if is_part else environment[match[1]]

    return _VARIABLE.sub(value, address)


def without(secrets: Collection[str], text: str) -> str:
    """A text with every secret in it, plain or percent-encoded, replaced by `***`."""
    forms = {
        form for secret in secrets if secret for form in (secret, quote(secret, safe=""), quote_plus(secret))
    }
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return text
