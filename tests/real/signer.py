"""A node that signs a state for each line it reads, to be killed: a program, not a test.

Arguments: the face, the key file, the store. Each line is a turn number;
it answers with the signature, in hexadecimal digits, when `sign_state` has returned.
"""

import sys

from tests.real.faces import FACES
from zmqp2p import Identity
from zmqp2p.ids import Address, TurnNum
from zmqp2p.state import FixedPart, State, VariablePart

PEER = Address(b"\xbb" * 20)


def state_of(me: Address, turn: int, app_data: bytes = b"") -> State:
    """Return a state of the one channel of these tests."""
    return State(
        FixedPart((me, PEER), 1), VariablePart(app_data, (), TurnNum(turn), is_final=False)
    )


def main(face: str, key: str, store: str) -> None:
    """Sign until there is no more input."""
    identity = Identity.load_or_create(key)
    service = FACES[face](None, identity=identity, store=store)
    for line in sys.stdin:
        signature = service.sign_state(state_of(identity.address, int(line)))
        sys.stdout.write(f"{signature.to_bytes().hex()}\n")
        sys.stdout.flush()
    service.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
