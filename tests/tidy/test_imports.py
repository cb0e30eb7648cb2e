"""Importing this package does nothing but import it: no network, no process, no file is written."""

import subprocess
import sys

# Runs in a process of its own: an audit hook cannot be taken away, and everything is imported here.
IMPORT_ALL = """
import importlib, os, pkgutil, sys

FORBIDDEN = ("socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system",
    "os.remove", "os.rename", "os.mkdir", "sqlite3.connect")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
seen = []

def watch(event, arguments):
    if event.startswith(FORBIDDEN) and event != "socket.__new__":
        seen.append((event, str(arguments)))
    if event == "open" and arguments[2] & WRITING:
        seen.append((event, str(arguments)))

sys.dont_write_bytecode = True
sys.addaudithook(watch)
import zmqp2p
names = ["zmqp2p"]
for module in pkgutil.walk_packages(zmqp2p.__path__, "zmqp2p."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        names.append(module.name)
print(len(names), seen)
if "--provoke" in sys.argv:
    import socket
    socket.socket().close()
    socket.gethostbyname("localhost")
    print(seen)
"""


def imported(*arguments: str) -> list[str]:
    """Return what a process prints that imports every module."""
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *arguments], capture_output=True, text=True, check=True
    )
    return ran.stdout.splitlines()


def test_no_module_does_anything_when_it_is_imported() -> None:
    count, seen = imported()[0].split(" ", 1)
    assert int(count) > 100
    assert seen == "[]"


def test_the_test_sees_what_is_forbidden() -> None:
    assert "gethostbyname" in imported("--provoke")[1]
