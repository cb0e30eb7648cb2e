"""``python -m zmqp2p``: the same as the command ``zmqp2p``."""

from zmqp2p.cli import main

main()
