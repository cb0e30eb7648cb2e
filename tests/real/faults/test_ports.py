"""A reserved port is for one test's nodes, which may come and go on it."""

import socket
from contextlib import closing

import pytest

from tests.real.faults.ports import reserved_ports


def listen(port: int) -> socket.socket:
    """Listen as libzmq does: `create_server` sets SO_REUSEADDR."""
    return socket.create_server(("127.0.0.1", port))


def test_a_reserved_port_can_be_listened_on_again_and_again() -> None:
    with reserved_ports(2) as ports:
        assert len(set(ports)) == 2
        for port in (*ports, *ports):
            with listen(port), closing(socket.create_connection(("127.0.0.1", port))):
                pass


def test_nobody_answers_on_a_reserved_port_where_no_node_listens() -> None:
    with reserved_ports(1) as (port,), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_no_port_is_reserved_twice_or_while_somebody_listens() -> None:
    with reserved_ports(1) as (first,), reserved_ports(1) as (second,):
        assert first != second
    with listen(first), reserved_ports(1) as (third,):
        assert third != first
