"""A node that counts what it receives in its own table, to be killed: a program, not a test.

Arguments: the key file, the store, the endpoint. Prints its record; ends when its input ends.
"""

import sys

from tests.real.parties import Note
from zmqp2p import Delivery, Identity, Limits, P2PService

# Small turns and a small window: there are many points at which to be killed.
LIMITS = Limits(turn_max_messages=8, inbox_max_messages=64, message_max_bytes=2**20)


def count(delivery: Delivery) -> None:
    """Note the number in the transaction that acknowledges the message."""
    number = delivery.message.number
    delivery.transaction.execute("CREATE TABLE IF NOT EXISTS app_seen (number INTEGER)")
    delivery.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))


def main(key: str, store: str, endpoint: str) -> None:
    """Run until there is no more input."""
    identity = Identity.load_or_create(key)
    with P2PService(endpoint, identity=identity, store=store, limits=LIMITS) as service:
        service.on_message(count, message_type=Note)
        sys.stdout.write(f"{service.record}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
