"""What the package shows to its users is on purpose, and is all there."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import zmqp2p

# Examples, documents and other languages rely on these (docs/architecture).
FIXED_NAMES = {
    "AcceptState",
    "Identity",
    "P2PService",
    "PeerRecord",
    "ProposeState",
    "RejectProposal",
    "message",
}

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(zmqp2p.__path__, "zmqp2p.")
    if not found.name.endswith(".__main__")  # Importing that one runs it.
)


def public_names(module: ModuleType) -> set[str]:
    """Return the names a user finds in ``module``: neither private nor modules."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


def test_the_fixed_names_are_exported() -> None:
    assert set(zmqp2p.__all__) >= FIXED_NAMES


def test_the_package_exports_what_it_shows() -> None:
    """A name that can be imported from the package will be, so it is listed or private."""
    assert public_names(zmqp2p) <= set(zmqp2p.__all__)


def test_both_faces_have_the_same_name() -> None:
    aio = importlib.import_module("zmqp2p.aio")
    assert inspect.isclass(aio.P2PService)
    assert aio.P2PService is not zmqp2p.P2PService


@pytest.mark.parametrize("name", ["zmqp2p", *MODULES])
def test_each_module_says_what_it_is_and_exports_what_it_has(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, "has no docstring"
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    assert [entry for entry in exported if not hasattr(module, entry)] == []
