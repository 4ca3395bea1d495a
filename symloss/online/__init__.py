"""AdaLFL: losses that adapt while a model trains under them."""

from symloss.online.adaptive import AdaptiveLoss, Step
from symloss.online.losses import ResidualLoss, adaptable, loss_network

__all__ = ["AdaptiveLoss", "ResidualLoss", "Step", "adaptable", "loss_network"]
