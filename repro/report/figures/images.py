"""Figures made of images: kernels, neighbours, examples; and which class is taken for which."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm, to_rgb
from numpy.typing import NDArray

from repro.registry.wordnet import words
from repro.report.figures.style import MARKS


def kernels(ax: Axes, weights: NDArray[np.floating]) -> Axes:
    """The first layer's kernels as images (Fig. 3), the first half of the maps above the second.

    weights: (maps, 3, k, k). Each kernel is stretched to its own range, grey being zero.
    """
    maps, _, side, _ = weights.shape
    columns = math.ceil(maps / 2 / math.ceil(math.sqrt(maps / 6)))
    rows = math.ceil(maps / 2 / columns)
    top = np.abs(weights).max((1, 2, 3), keepdims=True)
    finite = (top > 0) & np.isfinite(top)  # a kernel of a net that broke is grey
    shades = 0.5 + 0.5 * np.divide(weights, top, out=np.zeros_like(weights), where=finite)
    cell = side + 1
    # What stays zero is seen through; half a kernel on the right, before the next net.
    sheet = np.zeros((2 * rows * cell + 2, columns * cell + side // 2, 4))
    for i, kernel in enumerate(shades):
        half, place = divmod(i, maps // 2)
        row, column = divmod(place, columns)
        y, x = (half * rows + row) * cell + 3 * half, column * cell
        sheet[y : y + side, x : x + side, :3] = kernel.transpose(1, 2, 0)
        sheet[y : y + side, x : x + side, 3] = 1
    for half, name in enumerate(("first half", "second half")):
        middle = (half + 0.5) * rows * cell + 3 * half - 1
        ax.text(-1.5, middle, name, rotation=90, ha="right", va="center")
    return _sheet(ax, sheet)


def nearest(ax: Axes, images: NDArray[np.uint8], classes: Sequence[str] = ()) -> Axes:
    """Test images and beside each its nearest training images, by their rank (Fig. 4).

    images: (queries, 1 + neighbours, S, S, 3), grey levels, the query first. classes: of the
    queries and maybe of more images that follow them; none where they are not known.
    """
    queries, across, side = images.shape[:3]
    gap = max(1, side // 8)
    sheet = np.zeros((queries * (side + gap) - gap, across * (side + gap) + gap, 4))
    for row in range(queries):
        for column in range(across):
            y, x = row * (side + gap), column * (side + gap) + (2 * gap if column else 0)
            sheet[y : y + side, x : x + side, :3] = images[row, column] / 255
            sheet[y : y + side, x : x + side, 3] = 1
            if row == 0:
                head = str(column) if column else "test image"
                ax.text(x + side / 2, -gap, head, ha="center", va="bottom")
    for row, name in enumerate(classes[:queries]):
        ax.text(-gap, row * (side + gap) + side / 2, words(name), ha="right", va="center")
    return _sheet(ax, sheet)


def _sheet(ax: Axes, pixels: NDArray[np.floating]) -> Axes:
    ax.imshow(pixels, interpolation="nearest")
    ax.set_axis_off()
    return ax


def confusion(ax: Axes, counts: NDArray[np.integer], classes: Sequence[str]) -> Axes:
    """Of the images of a class (a row), the share taken for each class, in percent.

    counts: (C, C). With few classes each square has its number.
    """
    shares = 100 * counts / np.maximum(1, counts.sum(1, keepdims=True))
    # The square root, or a net that is often wrong would leave nothing to be seen off the diagonal.
    scale = PowerNorm(0.5, vmin=0, vmax=max(1.0, float(shares.max(initial=0.0))))
    image = ax.imshow(shares, cmap=_shades(), norm=scale, interpolation="nearest")
    bar = ax.inset_axes((1.03, 0, 0.04, 1))
    ax.figure.colorbar(image, cax=bar, label="share of the true class in %")
    bar.grid(visible=False)
    if len(classes) <= 20:
        names = [words(name) for name in classes]
        ax.set_xticks(range(len(classes)), names, rotation=90)
        ax.set_yticks(range(len(classes)), names)
        for row, column in zip(*np.nonzero(counts), strict=True):
            text = f"{shares[row, column]:.0f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=7)
    ax.grid(visible=False)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def _shades() -> ListedColormap:
    """One colour, the denser the larger, through which a page of any colour is seen."""
    return ListedColormap([(*to_rgb(MARKS[0][0]), 0.7 * share) for share in np.linspace(0, 1, 256)])


_TITLE_LETTERS = 22  # letters of the usual size above an image


def examples(
    ax: Axes,
    images: NDArray[np.uint8],
    labels: Sequence[str],
    guesses: NDArray[np.str_],
    probabilities: NDArray[np.floating],
) -> Axes:
    """Test images, each with its class, and below it the likeliest classes (Fig. 4).

    images: (N, H, W, 3); guesses and probabilities: (N, K), the likeliest first. The bar of the
    right class has another colour and a name in bold.
    """
    ax.set_axis_off()
    columns = min(4, len(images))
    rows = math.ceil(len(images) / columns)
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(place, columns)
        left, top, width, height = column / columns, 1 - row / rows, 0.9 / columns, 1 / rows
        photo = ax.inset_axes((left, top - 0.52 * height, width, 0.44 * height))
        photo.imshow(image, interpolation="nearest")
        photo.set_axis_off()
        title = words(label)
        photo.set_title(title, fontsize=9 * _TITLE_LETTERS / max(_TITLE_LETTERS, len(title)))
        bars = ax.inset_axes((left, top - 0.95 * height, width, 0.4 * height))
        _bars(bars, label, guesses[place], probabilities[place])
    return ax


def _bars(
    ax: Axes, label: str, guesses: NDArray[np.str_], probabilities: NDArray[np.floating]
) -> None:
    right = [guess == label for guess in guesses]  # two of WordNet's numbers can be one word
    colours = [MARKS[1][0] if good else MARKS[5][0] for good in right]
    ax.barh(range(len(guesses)), probabilities, color=colours, height=0.8, alpha=0.5)
    for y, (guess, good) in enumerate(zip(guesses, right, strict=True)):
        ax.text(0.02, y, words(guess), va="center", fontsize=7, weight="bold" if good else "normal")
    ax.set(xlim=(0, 1), ylim=(len(guesses) - 0.4, -0.6))
    ax.set_axis_off()
