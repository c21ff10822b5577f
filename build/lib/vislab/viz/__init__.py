"""Figures, tables, source listings and kernel-less widgets for the chapters; everything loads on first use."""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Chapter": "chapter",
        "open": "chapter",
        "artifact": "chapter",
        "images": "figures",
        "curves": "figures",
        "recorded": "seeds",
        "recorded_rows": "seeds",
        "style": "look",
        "palette": "look",
        "source": "listing",
        "table": "tables",
        "shapes": "tables",
        "sliders": "widget",
    },
)
