"""A node that may open few descriptors, for the tests of what strangers can do to it."""

import resource
import sys

import tests.real.parties  # noqa: F401  # The messages that a test sends it.
from zmqp2p import Identity, P2PService


def main() -> None:
    """Serve with as many descriptors as the first argument says, until the input ends."""
    most = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with P2PService("tcp://127.0.0.1:0", identity=Identity.generate()) as node:
        node.on_message(lambda _: None)
        print(node.record, flush=True)  # noqa: T201  # For the parent.
        sys.stdin.read()


if __name__ == "__main__":
    main()
