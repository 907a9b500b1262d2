"""Pages and pictures of minivmm-ctl's report, as a browser draws them: texts that can be read, colours that are there.

The pages are those of tests/unit/test-ctl-report.c, of moves that never were, and one of a move that was. Each is drawn wide and
narrow, light and dark. What a browser knows of its layout is asked by a script that is put into a copy of the page.
"""
import json
import os
import re
import struct
import subprocess
import zlib

from case import only_minivmm, table
from moves import machine
from vmm import BUILD

ONLY = "minivmm-ctl is a program of its own"
LIGHT, DARK = (0xfc, 0xfc, 0xfa), (0x18, 0x18, 0x17)
# --sent of each style sheet: the line of what was sent
SENT = {LIGHT: (0x24, 0x72, 0xc8), DARK: (0x62, 0xa5, 0xf2)}

MEASURE = """<script>
function texts() {
  const out = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode()) !== null;) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest('script, style, title') || !parent.checkVisibility())
      continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const svg = parent.closest('svg');
    const frame = svg ? svg.getBoundingClientRect() : document.documentElement.getBoundingClientRect();
    for (const r of range.getClientRects())
      out.push({text: node.data.trim(), x: r.left, y: r.top, w: r.width, h: r.height, picture: svg !== null,
                inside: r.left >= frame.left - 1 && r.right <= frame.right + 1 &&
                        r.top >= frame.top - 1 && r.bottom <= frame.bottom + 1});
  }
  return out;
}
const said = {texts: texts(), wide: document.documentElement.scrollWidth, window: innerWidth,
              plots: document.querySelectorAll('svg').length, loaded: performance.getEntriesByType('resource').length};
const pre = document.createElement('pre');
pre.id = 'said';
pre.textContent = JSON.stringify(said);
document.body.append(pre);
</script>"""


def browser(t, *words):
    t.need("chromium")
    return subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
         f"--user-data-dir={t.path('profile')}", *words], capture_output=True, check=True).stdout.decode()


def scheme(dark):
    return f"--blink-settings=preferredColorScheme={0 if dark else 1}"


def measured(t, page, width, dark):
    """What the browser says of it: places of all texts, and more (MEASURE)."""
    with open(page, encoding="utf-8") as f:
        text = f.read()
    assert "<script" not in text
    if page.endswith(".svg"):
        text = "<!DOCTYPE html><body style='margin:0'>" + re.sub(r"^<\?xml.*?\?>", "", text) + "</body>"
    copy = t.path("measured.html")
    with open(copy, "w", encoding="utf-8") as f:
        f.write(text.replace("</body>", MEASURE + "</body>"))
    dom = browser(t, f"--window-size={width},2000", scheme(dark), "--dump-dom", f"file://{copy}")
    said = re.search(r'<pre id="said">(.*?)</pre>', dom, re.S).group(1)
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", "\u00a0"), ("&amp;", "&")):
        said = said.replace(entity, char)
    return json.loads(said)


def over_each_other(texts):
    """Pairs of texts that share more than the edge of their boxes."""
    found = []
    for i, a in enumerate(texts):
        for b in texts[i + 1:]:
            if a["text"] == b["text"] and a["y"] == b["y"] and a["x"] == b["x"]:
                continue
            wide = min(a["x"] + a["w"], b["x"] + b["w"]) - max(a["x"], b["x"])
            high = min(a["y"] + a["h"], b["y"] + b["h"]) - max(a["y"], b["y"])
            if wide > 1 and high > 3:       # a line's box is higher than its letters
                found.append((a["text"], b["text"]))
    return found


def pixels(path):
    """(width, rows of RGB bytes) of a PNG, which is what the browser writes: 8 bits, RGB or RGBA, not interlaced."""
    with open(path, "rb") as f:
        data = f.read()
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", data[at + 8:at + 21])
        elif kind == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += size + 12
    assert depth == 8 and colours in (2, 6) and not interlaced, (depth, colours, interlaced)
    n = 3 if colours == 2 else 4
    raw, stride, above, rows = zlib.decompress(packed), width * n, bytes(width * n), []
    for y in range(height):
        row = bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        unfilter(raw[y * (stride + 1)], row, above, n)
        above = bytes(row)
        rows.append([tuple(row[x:x + 3]) for x in range(0, stride, n)])
    return rows


def unfilter(kind, row, above, n):
    """PNG's five ways to say how a row differs from what is beside and above it."""
    for i in range(len(row) if kind else 0):
        a = row[i - n] if i >= n else 0
        b, c = above[i], above[i - n] if i >= n else 0
        if kind == 4:
            p = a + b - c
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        else:
            near = (a, b, (a + b) // 2)[kind - 1]
        row[i] = (row[i] + near) & 0xff


def check_drawn(t, page, dark):
    """The paper has its colour, the line of what was sent its own, and there is ink."""
    picture = t.path("drawn.png")
    browser(t, "--window-size=900,1500", scheme(dark), f"--screenshot={picture}", f"file://{page}")
    counts = {}
    for row in pixels(picture):
        for pixel in row:
            counts[pixel] = counts.get(pixel, 0) + 1
    paper = DARK if dark else LIGHT
    assert max(counts, key=counts.get) == paper, sorted(counts.items(), key=lambda c: -c[1])[:5]
    ink = sum(counts.values()) - counts[paper]
    assert counts.get(SENT[paper], 0) > 200 and ink > 20000, (counts.get(SENT[paper]), ink)


def check_laid_out(t, page, plots, widths=(1000, 420)):
    for width, dark in zip(widths, (False, True)):
        said = measured(t, page, width, dark)
        assert said["loaded"] == 0, said["loaded"]              # nothing from outside
        assert said["plots"] == plots, said["plots"]
        assert said["wide"] <= max(said["window"], width if page.endswith(".html") else 860), said["wide"]
        assert not over_each_other(said["texts"]), (page, width, over_each_other(said["texts"]))
        outside = [x["text"] for x in said["texts"] if x["picture"] and not x["inside"]]
        assert not outside, (page, width, outside)


def made(t):
    """The directory of the unit test's pages."""
    subprocess.run([os.path.join(BUILD, "unit", "test-ctl-report")], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "REPORT_OUT": t.tmp})
    return t.tmp


@only_minivmm(ONLY)
@table(precopy={"name": "precopy.html", "plots": 5}, postcopy={"name": "postcopy.html", "plots": 5},
       failed={"name": "hostile.html", "plots": 1}, extreme={"name": "extreme.html", "plots": 5},
       last={"name": "last.html", "plots": 0}, none={"name": "none.html", "plots": 0},
       picture={"name": "precopy.svg", "plots": 1}, picture_of_postcopy={"name": "postcopy.svg", "plots": 1})
def test_layout(t, name, plots):
    """No text on another one or cut off, whatever the figures are."""
    page = os.path.join(made(t), name)
    check_laid_out(t, page, plots, (1000, 420) if name.endswith(".html") else (900, 900))


@only_minivmm(ONLY)
@table(page={"name": "precopy.html", "dark": False}, dark={"name": "postcopy.html", "dark": True},
       picture={"name": "precopy.svg", "dark": False}, dark_picture={"name": "postcopy.svg", "dark": True})
def test_colours(t, name, dark):
    check_drawn(t, os.path.join(made(t), name), dark)


@only_minivmm(ONLY)
def test_a_real_move(t):
    """With the figures of both ends."""
    source, dest = t.path("a.sock"), t.path("b.sock")
    monitor = ["-qmp", "unix:{},server=on,wait=off"]
    vm = machine(t, extra=[monitor[0], monitor[1].format(source)])
    other = t.vmm("counter", "pages=100 rate=2000", incoming="defer", extra=[monitor[0], monitor[1].format(dest)])
    other.cmd("migrate-incoming", uri=f"unix:{t.path('way')}")
    page = t.path("page.html")
    done = subprocess.run([os.path.join(BUILD, "minivmm-ctl"), "-s", source, "move", f"unix:{t.path('way')}", "--rate", "20M",
                           "--report", page, "--peer", dest], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    with open(page, encoding="utf-8") as f:
        text = f.read().replace("\u00a0", " ")
    assert re.search(r"<h1>The guest moved in [0-9.]+ m?s, and stood still for [0-9.]+ ms\.</h1>", text), text[:6000]
    assert re.search(r"<td>destination</td><td>RESUME</td>", text), text
    assert vm.status() == "postmigrate" and other.status() == "running"
    check_laid_out(t, page, 4)
