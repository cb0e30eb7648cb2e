"""Where a node keeps what must survive it: the `Store` protocol, in a file or in memory."""

from zmqp2p.store.base import SqlValue, Store, Transaction
from zmqp2p.store.memory import MemoryStore
from zmqp2p.store.sqlite import SqliteStore

__all__ = ["MemoryStore", "SqlValue", "SqliteStore", "Store", "Transaction"]
