"""NPBML: few-shot learning with a meta-learned initialisation, optimiser and loss."""

from symloss.fewshot.distortion import Distortion
from symloss.fewshot.encoders import MLP, Conv4, ResNet12
from symloss.fewshot.episodes import ClassSet, ClassSplits, Episodes, Sinusoids, Tasks
from symloss.fewshot.folders import cifar_fs, mini_imagenet, omniglot, tiered_imagenet
from symloss.fewshot.glyphs import glyphs
from symloss.fewshot.inspection import LossShape, loss_shape, step_sizes
from symloss.fewshot.learner import NPBML, Adapted
from symloss.fewshot.result import Curve, Scores
from symloss.fewshot.settings import VARIANTS

__all__ = [
    "MLP", "NPBML", "VARIANTS", "Adapted", "ClassSet", "ClassSplits", "Conv4", "Curve", "Distortion", "Episodes",
    "LossShape", "ResNet12", "Scores", "Sinusoids", "Tasks", "cifar_fs", "glyphs", "loss_shape", "mini_imagenet",
    "omniglot", "step_sizes", "tiered_imagenet",
]  # fmt: skip
