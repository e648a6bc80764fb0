"""Parameter grid: what k, alpha and beta cost in latency, and buy in safety and liveness."""

from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, Normalize

from vecsim.results import plot

DIMS = ("alpha_share", "k", "beta")
MAPS = {
    "latency": "median rounds to decision",
    "stalled": "stalled, share of trials",
    "disagreement": "disagreement, share of trials",
}
TICKS = (5, 10, 20, 50, 100, 200, 500, 1000)
NAMED = {"k": "$k$", "alpha_share": r"$\alpha / k$", "beta": r"$\beta$"}


def draw(data: xr.Dataset, folder: Path) -> list[Path]:
    paths = []
    with plot.style():
        for at, part in plot.each(data, DIMS):
            paths += plot.save_figure(maps(part), folder, "parameter_grid", at)
    return paths


def maps(data: xr.Dataset):
    """Heat maps over k (across) and alpha / k (up): a column per beta, a row per quantity."""
    betas, ks, shares = (data[dim].values for dim in ("beta", "k", "alpha_share"))
    width = plot.PAGE if len(betas) > 1 else plot.COLUMN
    height = 0.8 + len(MAPS) * (0.35 + 0.17 * max(len(shares), 4))
    figure, axes = plot.panels(len(MAPS), len(betas), width, height, sharex=True, sharey=True)
    room = 72 * (width - 1.3) / len(betas) / len(ks)  # points across a cell
    font = float(np.clip(room / 4.2, 4, plot.SMALL))
    for row, (name, title) in enumerate(MAPS.items()):
        values, labels, spread = _table(data, name)
        known = values.values[np.isfinite(values)]
        norm, colours = _scale(name, known)
        for column, beta in enumerate(betas):
            at = {"beta": beta}
            grid, texts = (
                part.sel(at).transpose("alpha_share", "k").values for part in (values, labels)
            )
            panel = axes[row, column]
            panel.grid(False)
            mesh = panel.pcolormesh(
                np.ma.masked_invalid(grid),
                norm=norm,
                cmap=colours,
                edgecolor="white",
                linewidth=0.4,
            )
            for (y, x), text in np.ndenumerate(texts):
                shade = _ink(mesh.to_rgba(grid[y, x])) if np.isfinite(grid[y, x]) else "0.3"
                place = {"ha": "center", "va": "center", "fontsize": font, "color": shade}
                panel.text(x + 0.5, y + 0.5, text, **place)
            _axes(panel, ks, shares)
            if row == 0:
                panel.set_title(rf"{NAMED['beta']} = {plot.words(beta)}")
            if row == len(MAPS) - 1:
                panel.set_xlabel(NAMED["k"])
        axes[row, 0].set_ylabel(NAMED["alpha_share"])
        bar = figure.colorbar(mesh, ax=list(axes[row]), pad=0.01, aspect=14)
        bar.set_label(f"{title}\n(95 % interval: {spread})", fontsize=plot.SMALL)
        bar.ax.tick_params(labelsize=plot.SMALL)
        bar.outline.set_visible(False)  # type: ignore[operator]
        if name == "latency":
            low, high = mesh.get_clim()
            ticks = [tick for tick in TICKS if low <= tick <= high]
            bar.set_ticks(ticks, labels=[str(tick) for tick in ticks])
            bar.minorticks_off()
    return figure


def _table(data: xr.Dataset, name: str):
    """Values and labels of a map, and how wide the intervals are at most."""
    if name == "latency":
        table = data.vecsim.quantile("last_decision", 0.5)
        value = table["value"].where(np.isfinite(table["value"]))
        limit = data["rounds"].max("trial")
        labels = xr.apply_ufunc(_rounds, value, limit, vectorize=True, output_dtypes=[object])
        half = ((table["high"] - table["low"]) / 2 / value).values
        half = half[np.isfinite(half)]
        return value, labels, f"±{100 * half.max():.0f} % at most" if half.size else "none"
    table = data.vecsim.rate(name)
    parts = (table[part] for part in ("value", "low", "high"))
    labels = xr.apply_ufunc(_share, *parts, vectorize=True, output_dtypes=[object])
    half = float(((table["high"] - table["low"]) / 2).max())
    return table["value"], labels, f"±{half:.2f} at most"


def _rounds(value: float, limit: float) -> str:
    """Rounds, or that more than half of the trials had not decided when they were cut off."""
    if np.isfinite(value):
        return f"{value:.4g}"
    return f">{limit:.0f}" if np.isfinite(limit) else ""


def _share(rate: float, low: float, high: float) -> str:
    """A rate; where there was no event, or nothing else, the end of its interval."""
    if not np.isfinite(rate):
        return ""
    if rate == 0:
        return f"<{_digits(high)}"
    return f">{1 - float(_digits(1 - low)):.3g}" if rate == 1 else _digits(rate)


def _digits(rate: float) -> str:
    return f"{rate:.2f}" if 0.0995 <= rate < 0.995 else f"{rate:.3f}"


def _scale(name: str, known: np.ndarray):
    if name == "latency":
        ends = (known.min(), max(known.max(), 1.1 * known.min())) if known.size else (1, 10)
        return LogNorm(*ends), matplotlib.colormaps["viridis_r"].with_extremes(bad="0.88")
    return Normalize(0, 1), matplotlib.colormaps["cividis_r"].with_extremes(bad="0.88")


def _ink(colour) -> str:
    """Black or white, whichever is easier to read on a colour."""
    red, green, blue = colour[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


def _axes(panel, ks, shares) -> None:
    panel.set_xticks(np.arange(len(ks)) + 0.5, [plot.words(k) for k in ks])
    panel.set_yticks(np.arange(len(shares)) + 0.5, [plot.words(share) for share in shares])
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
