"""From how far an address is reached: this machine, this link, this site, or everywhere.

A record says where its owner wants to be dialed, and nothing proves that it is there. Of a peer
that came by itself it must not lead to where that peer could not go: services of this machine, or
of the network behind it, trust whoever reaches them.
"""

import ipaddress
from enum import IntEnum

_TCP = "tcp://"


class Reach(IntEnum):
    """From how far an address is reached, the least first."""

    NOWHERE = 0  # Nobody's address: the wildcard, multicast, reserved.
    MACHINE = 1
    LINK = 2
    SITE = 3  # Private networks and the like.
    WORLD = 4


def reach_of(host: str) -> Reach:
    """Return from how far ``host`` is reached, an IP address without brackets.

    What is none is this machine's, as "localhost" for ipc is.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return Reach.MACHINE
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast:
        return Reach.NOWHERE
    if address.is_loopback:  # Before what is reserved: of IPv6 it is that too.
        return Reach.MACHINE
    if address.is_reserved:
        return Reach.NOWHERE
    if address.is_link_local:
        return Reach.LINK
    return Reach.WORLD if address.is_global else Reach.SITE


def leads_out(endpoint: str, came_from: Reach) -> bool:
    """Whether ``endpoint`` is reached from as far as ``came_from``, where its owner was last.

    A socket file never is: it is no address, and its owner may be anybody. Nor is a name; no
    transport of this package asks anybody for its address.
    """
    if not endpoint.startswith(_TCP):
        return False
    host = endpoint.removeprefix(_TCP).rpartition(":")[0].strip("[]")
    return reach_of(host) >= came_from > Reach.NOWHERE
