"""A node that sends notes and prints their ids, to be killed: a program, not a test.

Arguments: the key file, the store, the receiver's record, the first number and how many. Prints
"number id" for each note once its id is known, as hex; ends when its input ends.
"""

import sys

from tests.real.parties import Note
from zmqp2p import Identity, P2PService


def main(key: str, store: str, record: str, first: str, count: str) -> None:
    """Send in small groups, so that many commits are there to be killed between."""
    identity = Identity.load_or_create(key)
    with P2PService(None, identity=identity, store=store) as service:
        peer = service.add_peer(record)
        numbers = range(int(first), int(first) + int(count))
        for start in numbers[::4]:
            group = range(start, min(start + 4, numbers.stop))
            receipts = [(number, service.send_message(peer, Note(number))) for number in group]
            for number, receipt in receipts:
                sys.stdout.write(f"{number} {receipt.message_id.hex()}\n")
            sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
