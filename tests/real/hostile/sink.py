"""A ROUTER with CURVE that swallows whatever comes and answers nothing.

An attack against it costs the machine what the same attack on a node costs, but for what the node
does of its own: the control of a measurement.
"""

import sys

import zmq
from zmq.utils import z85

from tests.real.hostile.raw import Keys


def main() -> None:
    """Print a record of the sink, and swallow until the input ends."""
    keys = Keys()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    router.setsockopt(zmq.MAXMSGSIZE, 263_168)
    router.curve_server = True
    router.curve_secretkey = keys.curve_secret
    port = router.bind_to_random_port("tcp://127.0.0.1", 10_000, 32_000)
    assert z85.decode(keys.curve_public) == keys.curve_key
    sys.stdout.write(f"{keys.record(endpoints=(f'tcp://127.0.0.1:{port}',))}\n")
    sys.stdout.flush()
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    while sys.stdin.fileno() not in (ready := dict(poller.poll())):
        assert ready
        for _ in range(256):
            try:
                router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
    context.destroy(linger=0)


if __name__ == "__main__":
    main()
