"""Where data come from: one file for each source, which registers its data sets."""

from symloss.tasks.sources import arfs, cifar, glyphs, idx, images, languages, mlxtend, scikit, surnames, svhn

__all__ = ["arfs", "cifar", "glyphs", "idx", "images", "languages", "mlxtend", "scikit", "surnames", "svhn"]
