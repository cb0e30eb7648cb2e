"""A node that counts what it receives in its own table, to be killed: a program, not a test.

Arguments: the key file, the store, the endpoint, and where its handler runs: on the node's thread
("node"), in an executor or as a coroutine. Prints its record; ends when its input ends.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.real.parties import Note
from zmqp2p import Delivery, Identity, Limits, P2PService, aio

# Small turns and a small window: there are many points at which to be killed.
LIMITS = Limits(turn_max_messages=8, inbox_max_messages=64, message_max_bytes=2**20)


def count(delivery: Delivery) -> None:
    """Note the number in the transaction that acknowledges the message."""
    number = delivery.message.number
    delivery.transaction.execute("CREATE TABLE IF NOT EXISTS app_seen (number INTEGER)")
    delivery.transaction.execute("INSERT INTO app_seen VALUES (?)", (number,))


async def count_later(delivery: Delivery) -> None:
    """Do the same on an event loop."""
    await asyncio.sleep(0)
    count(delivery)


def serve(identity: Identity, store: str, endpoint: str, where: str) -> None:
    """Handle messages on the node's thread or in an executor."""
    with (
        ThreadPoolExecutor(2) as executor,
        P2PService(endpoint, identity=identity, store=store, limits=LIMITS) as service,
    ):
        wanted = {"executor": executor} if where == "executor" else {}
        service.on_message(count, message_type=Note, **wanted)  # type: ignore[call-overload]
        say(f"{service.record}")
        sys.stdin.read()


async def serve_later(identity: Identity, store: str, endpoint: str) -> None:
    """Handle messages on an event loop."""
    async with aio.P2PService(endpoint, identity=identity, store=store, limits=LIMITS) as service:
        await service.on_message(count_later, message_type=Note)
        say(f"{service.record}")
        await asyncio.to_thread(sys.stdin.read)


def say(line: str) -> None:
    """Tell whoever started this."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(key: str, store: str, endpoint: str, where: str) -> None:
    """Run until there is no more input."""
    identity = Identity.load_or_create(key)
    if where == "coroutine":
        asyncio.run(serve_later(identity, store, endpoint))
    else:
        serve(identity, store, endpoint, where)


if __name__ == "__main__":
    main(*sys.argv[1:])
