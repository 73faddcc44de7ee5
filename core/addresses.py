"""Which addresses on the network the service may call at a user's word: those of the public internet alone.

Whoever names a URL must not reach through the service what only the service can reach: its own machine, the network
around it, the metadata of a cloud.
"""

import ipaddress

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """True of an IP address, in whatever form, that belongs to the public internet; False of text that is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return all(each.is_global and not each.is_multicast for each in _all_that_it_means(found))


def is_address(host: str) -> bool:
    """Whether a URL's host is an address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _all_that_it_means(
    found: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The address and those within it: IPv6 carries IPv4 in several ways, and a gateway may unpack any of them."""
    if isinstance(found, ipaddress.IPv4Address):
        return [found]
    if found.ipv4_mapped is not None:
        return [found.ipv4_mapped]  # the same address in the other notation
    inner = [found.sixtofour, *(found.teredo or ())]
    if found in _NAT64:
        inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
    return [found, *(each for each in inner if each is not None)]
