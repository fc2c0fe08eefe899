"""Bar charts as SVG, readable on a light and on a dark page, from figures."""

from html import escape

from bench_figures import digits

WIDTH, NAMES, VALUES = 760, 190, 90
BAR, GAP, TITLE, MARGIN = 16, 4, 30, 16

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .page { fill: #ffffff } .title { font-weight: 600 }
  .ours { fill: #0b6bcb } .other { fill: #9aa4af } .floor { fill: none; stroke: #6e7781; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .page { fill: #0d1117 } .ours { fill: #58a6ff } .other { fill: #57606a } .floor { stroke: #8b949e }
  }
"""


def kind(who):
    """Ours, what the kernel or a script takes without any of the contenders, or another."""
    if who.startswith("minirun"):
        return "ours"
    return "floor" if who.startswith("floor") or "by hand" in who else "other"


def chart(title, figures, rows):
    """One group of bars for each figure, a bar for each contender; the medians, each group on a scale of its own."""
    rows = [what for what in rows if what in figures.samples]
    y = MARGIN + TITLE
    parts = [f'<text class="title" x="{MARGIN}" y="{MARGIN + 12}">{escape(title)}</text>']
    for what in rows:
        contenders = figures.samples[what]
        parts.append(f'<text class="title" x="{MARGIN}" y="{y + 14}">{escape(what)} ({figures.unit(what)})</text>')
        y += TITLE - 8
        medians = {who: figures.median(what, who) for who in contenders}
        longest = max(medians.values()) or 1
        for who, value in medians.items():
            length = max(1.0, (WIDTH - NAMES - VALUES - MARGIN) * value / longest)
            parts.append(f'<text x="{NAMES - 8}" y="{y + 13}" text-anchor="end">{escape(who)}</text>')
            parts.append(f'<rect class="{kind(who)}" x="{NAMES}" y="{y}" width="{length:.1f}" height="{BAR}"/>')
            parts.append(f'<text x="{NAMES + length + 6:.1f}" y="{y + 13}">{digits(value)}</text>')
            y += BAR + GAP
        y += GAP * 2
    height = y + MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>', *parts, "</svg>"]) + "\n"
