"""PURE. The URLs of webhooks, read in one way wherever one is given, called or redirected to."""

import re
from ipaddress import ip_address
from typing import Final

import httpx

LONGEST: Final = 2000
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LONGEST_NAME: Final = 253
_LAST_PORT: Final = 65535


class BadDestination(ValueError):
    """The URL is none that a webhook can have; the text says why, after "must"."""


def read_destination(text: str, *, allow_http: bool, base: httpx.URL | None = None) -> httpx.URL:
    """Return a webhook's URL, or what a redirect from `base` leads to; raises `BadDestination`.

    Where its host is, and whether that may be connected to, is another matter.
    """
    # Programs differ in what these mean; a backslash, say, begins the path for some of them.
    if len(text) > LONGEST or re.search(r"[\s\x00-\x20\x7f\\]", text):
        raise BadDestination(f"be a URL of at most {LONGEST} characters, without spaces")
    try:
        url = httpx.URL(text) if base is None else base.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise BadDestination("be a valid URL") from error
    if url.scheme not in ({"http", "https"} if allow_http else {"https"}):
        raise BadDestination("begin with https://")
    if url.userinfo or url.fragment or "@" in url.netloc.decode("ascii", "replace"):
        raise BadDestination("have no user, password or fragment")
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise BadDestination("have a port of 1 to 65535")
    if not _is_host(url.raw_host.decode("ascii", "replace")):
        raise BadDestination("have a valid host name or address")
    return url


def _is_host(host: str) -> bool:
    """Tell whether it is a name or an address without a zone, as DNS and TLS take it."""
    if ":" in host:
        try:
            ip_address(host)
        except ValueError:
            return False
        return "%" not in host
    labels = host.removesuffix(".").split(".")
    return len(host) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in labels)
