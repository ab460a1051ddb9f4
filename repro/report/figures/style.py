"""Colours, markers and type of all figures.

Colours are Okabe and Ito's, told apart by colour-blind readers; arms also differ by marker, so
that a black and white print is read the same way. All colours but those of images are in SCHEME,
so that a page can give each a twin for the dark.
"""

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
VERDICTS = {
    "reproduced": "#116329",
    "direction only": "#7d4e00",
    "gap only": "#7d4e00",
    "not reproduced": "#a40e26",
    "inconclusive": "#0b4f8a",
    "undertrained": "#6e3aa8",
    "invalid": "#6e3aa8",
    "not run": GREY,
}

# Each colour of a figure, as matplotlib writes it: its name in a style sheet, and its twin for the
# dark, the same hue and lighter.
SCHEME = {
    INK: ("--ink", "#e6e9ec"),
    GREY: ("--grey", "#a2abb5"),
    GRID: ("--grid", "#343c45"),
    PAPER: ("--page", "#14181d"),
    **{
        colour.lower(): (f"--arm-{mark}", dark)
        for mark, ((colour, _), dark) in enumerate(
            zip(
                MARKS,
                ("#3fa7e6", "#ff8740", "#2ec79b", "#e6a3c8", "#f5c04a", "#a5d8f7"),
                strict=True,
            )
        )
    },
    VERDICTS["reproduced"]: ("--reproduced", "#4cc38a"),
    VERDICTS["direction only"]: ("--direction-only", "#f0b429"),
    VERDICTS["not reproduced"]: ("--not-reproduced", "#ff8f99"),
    VERDICTS["inconclusive"]: ("--inconclusive", "#79b8ff"),
    VERDICTS["invalid"]: ("--invalid", "#c9a4ff"),
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
