"""Tell a webhook how a run ended: with a time limit, and never at the cost of the run."""

import ipaddress
import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

logger = logging.getLogger("retrain")
SECONDS = 5.0
"""What a webhook may take in all, from looking up its name to its answer."""

Facts = Mapping[str, str | int | bool | list[str] | None]


def notify(
    variable: str | None, environment: Mapping[str, str], facts: Facts, *, seconds: float = SECONDS
) -> bool:
    """POST facts as JSON to the address that an environment variable holds.

    The address, which is often a secret, is named in no log.

    Args:
        variable: the variable's name, from `notify.webhook_env`; None for no webhook.
        environment: such as `os.environ`.
        facts: what to tell; texts from data are not among them.
        seconds: the time limit.

    Returns:
        Whether the webhook took it (2xx).
    """
    if variable is None:
        return False
    address = environment.get(variable, "")
    if not address:
        logger.warning("notify: %s is not set, so nobody was told", variable)
        return False
    if not _is_acceptable(address):
        logger.warning(
            "notify: %s holds no https address (http is for loopback), so nobody was told", variable
        )
        return False
    answer: list[str] = []
    # the library's timeout is per read and leaves out the look-up of the name: a thread bounds it all
    worker = threading.Thread(target=_post, args=(address, facts, seconds, answer), daemon=True)
    worker.start()
    worker.join(seconds)
    result = answer[0] if answer else f"no answer within {seconds:g} s"
    if result:
        logger.warning("notify: the webhook in %s did not take the message: %s", variable, result)
    return not result


def _post(address: str, facts: Facts, seconds: float, answer: list[str]) -> None:
    """Send, and put what went wrong into `answer`; the empty text for nothing."""
    try:
        request = urllib.request.Request(
            address,
            data=json.dumps(dict(facts)).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "retrain"},
            method="POST",
        )
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=seconds) as response:
            answer.append("" if 200 <= response.status < 300 else f"status {response.status}")
    except urllib.error.HTTPError as error:
        answer.append(f"status {error.code}")
    except Exception as error:
        # whatever the network or a broken server does, the run goes on
        answer.append(type(error).__name__)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the message, and what is secret in the address, to somebody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _is_acceptable(address: str) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    if parts.scheme != "http":
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
