"""Delivery: one reliable conversation per peer, without sockets, clocks or meaning."""
