"""The look of figures: one palette that colour-blind readers can tell apart, plain axes, sharp on dense screens."""

import sys

# Okabe and Ito's colours, without the yellow that vanishes on white.
palette = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DPI = 96


def style() -> None:
    """Set matplotlib's defaults; in a notebook figures are drawn with two pixels a point of the page."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "figure.dpi": DPI,
            "savefig.dpi": DPI,
            "figure.figsize": (6.5, 3.2),
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "font.size": 10,
            "font.family": "sans-serif",
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#555555",
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.prop_cycle": cycler(color=palette),
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.8,
            "xtick.color": "#333333",
            "ytick.color": "#333333",
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
        }
    )
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # MPLBACKEND=Agg in the environment would leave a notebook without figures
        if mpl.get_backend().lower() == "agg":
            mpl.use("module://matplotlib_inline.backend_inline")
        set_matplotlib_formats("retina")
