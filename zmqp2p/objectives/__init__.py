"""Objectives: what a node pursues with others, as pure values that say what must happen next."""

from zmqp2p.objectives.base import (
    Cranked,
    Deposit,
    EmitEvent,
    Objective,
    SendMessage,
    SideEffect,
    StateSigner,
    Status,
    SubmitTransaction,
    WaitingFor,
)
from zmqp2p.objectives.direct_fund import DirectFund
from zmqp2p.objectives.proposal import validate

__all__ = [
    "Cranked",
    "Deposit",
    "DirectFund",
    "EmitEvent",
    "Objective",
    "SendMessage",
    "SideEffect",
    "StateSigner",
    "Status",
    "SubmitTransaction",
    "WaitingFor",
    "validate",
]
