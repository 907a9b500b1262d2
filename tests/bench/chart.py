"""The ratios of a benchmark as a picture: one bar a row, 1.0 is QEMU."""
import math

WIDTH, ROW, LEFT, BAR = 900, 22, 400, 440


def place(ratio):
    """x of a ratio on a logarithmic scale from 1/100 to 100."""
    return LEFT + BAR * (math.log10(min(max(ratio, 0.01), 100)) + 2) / 4


def better(row):
    return row["ratio"] >= 1 if row["larger_is_better"] else row["ratio"] <= 1


def svg(rows):
    rows = [r for r in rows if r["ratio"]]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{ROW * len(rows) + 50}" '
           'font-family="sans-serif" font-size="12">',
           f'<text x="8" y="16" font-weight="bold">minivmm over QEMU (1 = equal)</text>']
    for mark in (0.01, 0.1, 1, 10, 100):
        x = place(mark)
        out.append(f'<line x1="{x:.0f}" y1="24" x2="{x:.0f}" y2="{ROW * len(rows) + 34}" '
                   f'stroke="{"#444" if mark == 1 else "#ccc"}"/>')
        out.append(f'<text x="{x:.0f}" y="{ROW * len(rows) + 46}" text-anchor="middle">{mark}</text>')
    for i, row in enumerate(rows):
        y, x = 30 + ROW * i, place(row["ratio"])
        left, right = min(x, place(1)), max(x, place(1))
        color = "#2a7f62" if better(row) else "#b5483a"
        out.append(f'<text x="8" y="{y + 13}">{row["name"]}</text>')
        out.append(f'<rect x="{left:.1f}" y="{y + 2}" width="{max(right - left, 1):.1f}" height="14" '
                   f'fill="{color}"/>')
        out.append(f'<text x="{WIDTH - 8}" y="{y + 13}" text-anchor="end">{row["ratio"]:.3f}</text>')
    return "\n".join(out + ["</svg>", ""])
