"""What single test images say of a difference: how far it depends on them, and how far on seeds."""

import math

import numpy as np

from repro.stats.estimate import Array, Estimate

_DRAWS = 10_000
_LEVEL = 0.95


def over_images(differences: Array) -> Estimate:
    """Mean of (S, N) differences of S nets on the same N images, by a bootstrap over images.

    An image stays with all of its nets. `seeds` counts the nets. The spread between nets is not in
    this interval, and that between images is in the one over seeds only as far as nets differ.
    """
    nets, images = differences.shape
    values, counts = np.unique(differences.mean(0), return_counts=True)
    generator = np.random.default_rng(0)  # the same store gives the same report
    means = generator.multinomial(images, counts / images, size=_DRAWS) @ values / images
    low, high = np.quantile(means, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]).tolist()
    return Estimate(
        value=float(differences.mean()),
        low=low,
        high=high,
        level=_LEVEL,
        seeds=nets,
        method=f"bootstrap over {images:,} images, these nets",
    )


def image_scatter(differences: Array) -> float:
    """Below which the scatter over seeds of the mean of (S, N) differences cannot well be.

    What each image alone contributes: images that err together only add to it. There are N of them,
    so that it is known at three seeds, whose own scatter may come out far too small.
    """
    if len(differences) < 2:
        return 0.0
    spread = math.sqrt(float(differences.var(0, ddof=1).sum()))
    return spread / float(differences.shape[1])
