"""Links to peers: ZeroMQ, and an in-memory twin under the same contract."""

from zmqp2p.transport.base import Transport
from zmqp2p.transport.memory import MemoryNetwork, MemoryTransport
from zmqp2p.transport.options import SocketLimits
from zmqp2p.transport.zeromq import ZmqTransport

__all__ = ["MemoryNetwork", "MemoryTransport", "SocketLimits", "Transport", "ZmqTransport"]
