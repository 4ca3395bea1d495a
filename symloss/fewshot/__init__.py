"""NPBML: few-shot learning with a meta-learned initialisation, optimiser and loss."""

from symloss.fewshot.distortion import Distortion
from symloss.fewshot.episodes import ClassSet, ClassSplits, Episodes, Sinusoids, Tasks
from symloss.fewshot.folders import cifar_fs, mini_imagenet, omniglot, tiered_imagenet
from symloss.fewshot.glyphs import glyphs

__all__ = [
    "ClassSet", "ClassSplits", "Distortion", "Episodes", "Sinusoids", "Tasks", "cifar_fs", "glyphs", "mini_imagenet",
    "omniglot", "tiered_imagenet",
]  # fmt: skip
