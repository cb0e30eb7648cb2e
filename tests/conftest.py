"""What all tests share: machines are shared and noisy, so no example is judged by its time."""

from hypothesis import settings

settings.register_profile("zmqp2p", deadline=None, print_blob=True)
settings.load_profile("zmqp2p")
