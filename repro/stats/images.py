"""How far a difference depends on which test images there are, for nets that stay what they are."""

import numpy as np

from repro.stats.estimate import Array, Estimate

__all__ = ["over_images"]

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
    drawn = generator.multinomial(images, counts / images, size=_DRAWS) @ values / images
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]).tolist()
    return Estimate(
        value=float(differences.mean()),
        low=low,
        high=high,
        level=_LEVEL,
        seeds=nets,
        method=f"bootstrap over {images:,} images, these nets",
    )
