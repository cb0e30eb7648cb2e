"""Attacks of those who are dialed: the node was given their contact."""

import os
from collections.abc import Iterator

import zmq

from tests.real.hostile.attacks import Attacker, attack
from tests.real.hostile.raw import Keys, router
from zmqp2p import limits
from zmqp2p.wire.encoding import encode_frame
from zmqp2p.wire.frames import Who

LISTENERS = 8


def _answer(attacker: Attacker, parts: list[tuple[bytes, ...]]) -> Iterator[None]:
    """Listen at some endpoints, and answer each dialer with ``parts``, round and round."""
    listening = []
    for _ in range(LISTENERS):
        keys = Keys()
        socket, record = router(attacker.context, keys)
        attacker.stack.callback(socket.close)
        attacker.contacts.append(str(record))
        listening.append((socket, set[bytes]()))
    yield
    number = 0
    while attacker.goes_on():
        for socket, dialers in listening:
            while socket.poll(0):
                dialers.add(socket.recv_multipart()[0])
            for dialer in list(dialers):
                number += 1
                try:
                    socket.send_multipart((dialer, *parts[number % len(parts)]), zmq.NOBLOCK)
                    attacker.count("messages")
                except zmq.Again:
                    continue
                except zmq.ZMQError:
                    dialers.discard(dialer)


@attack("dialed, it answers with garbage")
def dialed_garbage(attacker: Attacker) -> Iterator[None]:
    yield from _answer(attacker, [(os.urandom(300),) for _ in range(64)])


@attack("dialed, it asks WHO at line rate, and never says HELLO")
def dialed_who(attacker: Attacker) -> Iterator[None]:
    yield from _answer(attacker, [encode_frame(Who())])


@attack("dialed, it answers with frames of the greatest permitted size")
def dialed_huge(attacker: Attacker) -> Iterator[None]:
    yield from _answer(attacker, [(bytes(limits.FRAME_MAX_BYTES - 64),)])


@attack("dialed, it answers with a good HELLO of somebody else", told=("LinkRefused KEY_MISMATCH",))
def dialed_impostor(attacker: Attacker) -> Iterator[None]:
    other = attacker.stranger()
    yield from _answer(attacker, [encode_frame(other.hello())])
