"""``zmqp2p bench``: what messages cost here, beside the floor: plain pyzmq that does the same work.

Four processes over TCP on loopback: a receiver and a sender of each kind (`worker`). The parent
(`runner`) lets the two kinds take turns, so that what else the machine does hits both.
"""
