"""PURE. Which IP addresses may be connected to: public ones, or those of an intranet too.

What is public is said by our own table of IANA's special-purpose registries, since Python's differs
from release to release, and must be so by Python's as well.
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
_Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


def _networks(*texts: str) -> _Networks:
    return tuple(ip_network(text) for text in texts)


# Private networks and loopback: what an operator may open for an intranet.
_INTRANET: Final = _networks(
    "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
    "::1/128", "fc00::/7",
)  # fmt: skip
# Never public: what clouds answer their machines' metadata and keys at, 100.100.100.200 of the
# shared address space and 192.0.0.192 included, must stay closed even where an intranet is open.
_METADATA: Final = _networks(
    "100.100.100.200/32", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.0/24",
    "fd00:ec2::/32", "fd20:ce::254/128", "fe80::/10",
)  # fmt: skip
_NOT_PUBLIC: Final = _networks(
    "0.0.0.0/8", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    # Within 2000::/3, in which all public ones are: protocols' own (Teredo among them),
    # documentation, 6to4, which leads to any IPv4 address.
    "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)  # fmt: skip
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
# NAT64 (RFC 6052): how a network without IPv4 reaches what has nothing else.
_NAT64: Final = IPv6Network("64:ff9b::/96")
# Interface ids that hold an IPv4 address (ISATAP: RFC 5214, 6.1), without the bit for "universal".
_ISATAP: Final = 0x00005EFE


def may_reach(address: str, *, allow_private: bool) -> bool:
    """Tell whether an IP address may be connected to; what can't be read as one may not.

    With `allow_private` those of private networks and loopback may, too; link-local ones,
    multicast, and where clouds serve metadata, never.
    """
    try:
        read = ip_address(address)
    except ValueError:
        return False
    if isinstance(read, IPv6Address):
        # With a zone it is of one link only.
        if read.scope_id is not None:
            return False
        read = _inner(read)
    if _is_in(read, _METADATA):
        return False
    if _is_in(read, _INTRANET):
        return allow_private
    return _is_public(read)


def _inner(address: IPv6Address) -> Address:
    """Return the IPv4 address that is meant by a mapped or translated one."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_public(address: Address) -> bool:
    if _is_in(address, _NOT_PUBLIC) or not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return True
    is_isatap = (int(address) >> 32) & 0xFCFF_FFFF == _ISATAP
    return address in _GLOBAL_UNICAST and not is_isatap


def _is_in(address: Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)
