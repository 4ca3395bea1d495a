"""AdaLFL: losses that adapt while a model trains under them."""

from symloss.online.adaptive import AdaptiveLoss, Step
from symloss.online.losses import ResidualLoss, ScaledTaskLoss, adaptable, loss_network
from symloss.online.result import Adaptation
from symloss.online.run import adapt
from symloss.online.settings import METHODS, AdaptSettings

__all__ = [
    "METHODS", "AdaptSettings", "Adaptation", "AdaptiveLoss", "ResidualLoss", "ScaledTaskLoss", "Step", "adapt",
    "adaptable", "loss_network",
]  # fmt: skip
