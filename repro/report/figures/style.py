"""Colours, markers and type of all figures.

Colours are Okabe and Ito's, told apart by colour-blind readers; arms also differ by marker, so
that a black and white print is read the same way. All colours but those of images are in SCHEME,
so that a page can give each a twin for the dark.
"""

__all__ = ["GREY", "GRID", "INK", "MARKS", "PAPER", "SCHEME", "SHADE", "STYLE"]

# Okabe and Ito 2008: blue, vermillion, bluish green, reddish purple, orange, sky blue; a marker
# for each.
MARKS = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "D"),
    ("#CC79A7", "P"),
    ("#E69F00", "^"),
    ("#56B4E9", "v"),
)
INK, GREY, GRID, PAPER = "#1b1f24", "#57606a", "#d8dee4", "#ffffff"
SHADE = MARKS[2][0]

# Each colour of a figure, as matplotlib writes it, by the name that a style sheet gives it.
SCHEME = {
    INK: "--ink",
    GREY: "--grey",
    GRID: "--grid",
    PAPER: "--page",
    **{colour.lower(): f"--arm-{mark}" for mark, (colour, _) in enumerate(MARKS)},
}

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine measures alike
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}
