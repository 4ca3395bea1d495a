"""A loss as a torch module: compiled from a formula, taken from the catalogue, or read from a file."""

from symloss.losses.base import Loss
from symloss.losses.catalogue import entry, get, names
from symloss.losses.linear import linear_loss
from symloss.losses.network import Architecture, EntryNetwork, LossNetwork
from symloss.losses.plain import TorchLoss
from symloss.losses.resolve import loss
from symloss.losses.smoothing import AbsoluteCrossEntropy, LabelSmoothing, SparseLabelSmoothing
from symloss.losses.storage import load, save
from symloss.losses.symbolic import SymbolicLoss

__all__ = [
    "AbsoluteCrossEntropy", "Architecture", "EntryNetwork", "LabelSmoothing", "Loss", "LossNetwork",
    "SparseLabelSmoothing", "SymbolicLoss", "TorchLoss", "entry", "get", "linear_loss", "load", "loss", "names", "save",
]  # fmt: skip
