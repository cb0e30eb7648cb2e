"""Alice: funds one channel with Bob. Start bob.py in another terminal, before or after.

Either may be started first, and may be killed and started again at any moment: the channel is
funded all the same, and each deposit is made once. Everything is in ./channel-demo, keys included.
"""

import argparse
import time
from pathlib import Path

from zmqp2p import DeliveryTimeout, Identity, P2PService
from zmqp2p.chain import SimulatedChain
from zmqp2p.events import ChannelStep, Event
from zmqp2p.ids import ZERO_ADDRESS
from zmqp2p.state import Allocation, AssetExit, destination_of

parser = argparse.ArgumentParser(description="Fund a channel with Bob.")
parser.add_argument("--folder", type=Path, default=Path("channel-demo"))
parser.add_argument("--port", type=int, default=7801)  # The same one after a restart.
options = parser.parse_args()
folder: Path = options.folder


def show(event: Event) -> None:
    """Print each step of the funding as it happens."""
    if isinstance(event, ChannelStep):
        print(f"alice: {event.step}, {event.detail}", flush=True)


folder.mkdir(exist_ok=True)
with P2PService(
    f"tcp://127.0.0.1:{options.port}",
    identity=Identity.load_or_create(folder / "alice.key"),
    store=folder / "alice.db",
    chain=SimulatedChain(folder / "chain.db"),
) as p2p:
    p2p.on_event(show)
    print(f"alice: listens at {p2p.record.endpoints[0]}", flush=True)
    while not (folder / "bob.record").exists():
        time.sleep(0.1)
    bob = p2p.add_peer((folder / "bob.record").read_text())  # Signed: it may come from anywhere.
    print(f"alice: knows bob, 0x{bob.hex()}", flush=True)
    if p2p.channels():  # A restart: the store knows the channel, and funding goes on by itself.
        channel = p2p.channel(p2p.channels()[0].channel_id)
    else:
        ours = Allocation(destination_of(p2p.address), 60), Allocation(destination_of(bob), 40)
        channel = p2p.fund_channel(bob, (AssetExit(ZERO_ADDRESS, ours),))
    funded = channel.result()
    print(f"alice: funded 0x{funded.channel_id.hex()}", flush=True)
    try:
        p2p.flush(5.0)
    except DeliveryTimeout:  # It stays in alice.db: start alice.py again if Bob still waits.
        print("alice: bob has not acknowledged everything", flush=True)
print("alice: done", flush=True)
