"""Bob: waits for Alice's channel, approves it, pays his part. Start alice.py in another terminal.

Either may be started first, and may be killed and started again at any moment: the channel is
funded all the same, and each deposit is made once. Everything is in ./channel-demo, keys included.
"""

import argparse
import time
from pathlib import Path

from zmqp2p import DeliveryTimeout, Identity, P2PService, approve_all
from zmqp2p.chain import SimulatedChain
from zmqp2p.events import ChannelStep, Event

parser = argparse.ArgumentParser(description="Let Alice fund a channel with this node.")
parser.add_argument("--folder", type=Path, default=Path("channel-demo"))
parser.add_argument("--port", type=int, default=7802)  # The same one after a restart.
options = parser.parse_args()
folder: Path = options.folder


def show(event: Event) -> None:
    """Print each step of the funding as it happens."""
    if isinstance(event, ChannelStep):
        print(f"bob: {event.step}, {event.detail}", flush=True)


folder.mkdir(exist_ok=True)
with P2PService(
    f"tcp://127.0.0.1:{options.port}",
    identity=Identity.load_or_create(folder / "bob.key"),
    store=folder / "bob.db",
    chain=SimulatedChain(folder / "chain.db"),
    policy=approve_all,  # It spends money: a real node decides.
) as p2p:
    p2p.on_event(show)
    record = folder / "bob.record.new"
    record.write_text(str(p2p.record))
    record.replace(folder / "bob.record")  # At once: Alice never reads half of it.
    print(f"bob: listens at {p2p.record.endpoints[0]}", flush=True)
    while not p2p.channels():  # Alice knows where to find Bob; he need not dial.
        time.sleep(0.1)
    funded = p2p.channel(p2p.channels()[0].channel_id).result()
    print(f"bob: funded 0x{funded.channel_id.hex()}", flush=True)
    try:
        p2p.flush(5.0)
    except DeliveryTimeout:  # It stays in bob.db: start bob.py again if Alice still waits.
        print("bob: alice has not acknowledged everything", flush=True)
print("bob: done", flush=True)
