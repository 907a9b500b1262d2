"""The bytes arrive in another order: swapped or doubled messages and pieces, also on multifd channels.

Never two guests run and never none, nothing hangs, and who fails says why, at both ends. What the
format cannot see is not asked for (docs/testing.md): two pages that changed places are two pages.
"""
from case import only_minivmm, table
from faults import Pair, Recording, seeded
from proxy import BACKWARD, Harm

WHY = "QEMU 7.2 waits for ever, or aborts, on some of these"
KINDS = ("swap", "duplicate")
PIECES = 8              # random ones in each test
LARGEST = 5000          # bytes of a random piece: more than a page and its header
METHODS = {method: {"method": method} for method in ("none", "zlib", "zstd")}


def sized(what, first, second):
    return {"size": (first, second) if what == "swap" else first}


def neighbours(points):
    """(start, length, length of the next) of the messages between these points."""
    return [(a, b - a, c - b) for a, b, c in zip(points, points[1:], points[2:]) if a < b < c]


def messages(recording):
    """The first records, some pages, every device, the description: all that precedes the hand-over."""
    records = [r.start for r in recording.parsed.records if r.start < recording.ram_end]
    pages = recording.parsed.page_offsets
    devices = [r.start for r in recording.devices] + [recording.devices[-1].end]
    few = pages[:3] + pages[len(pages) // 2:len(pages) // 2 + 3]
    return neighbours([0] + sorted(set(records[:4]))) + neighbours(few[:3]) + neighbours(few[3:]) + \
        neighbours(devices + [recording.parsed.description_start, recording.told])


@only_minivmm(WHY)
@table(**{f"{what}_{part}": {"what": what, "part": part} for what in KINDS for part in range(2)})
def test_messages(t, what, part):
    """Each message and its neighbour."""
    pair = Pair(t)
    recording = Recording(pair)
    ends = []
    for at, first, second in messages(recording)[part::2]:
        ends.append(pair.disordered(recording.harm(what, at, **sized(what, first, second))))
    assert "failed" in ends, ends
    assert part or "completed" in ends, ends      # devices may come in any order


@only_minivmm(WHY)
@table(**{what: {"what": what} for what in KINDS})
def test_pieces(t, what):
    """Of any length, anywhere; half of them in RAM, half behind it."""
    pair, pick = Pair(t), seeded()
    recording = Recording(pair)
    for offset in recording.anywhere(pick, PIECES):
        first, second = (pick.randrange(1, LARGEST) for _ in range(2))
        first = min(first, max(1, (recording.told - offset) // 2))
        second = min(second, max(1, recording.told - offset - first))
        pair.disordered(recording.harm(what, offset, **sized(what, first, second)))


@only_minivmm(WHY)
@table(**{what: {"what": what} for what in KINDS})
def test_answers(t, what):
    """What the destination says, in another order: it may cost the move, never the guest."""
    pair = Pair(t)
    recording = Recording(pair)
    shut = len(recording.backward) - 8
    for offset in range(0, shut, max(1, shut // 5)):
        harm = Harm(what, offset, BACKWARD, **sized(what, 4, 4))
        if pair.disordered(harm) == "completed":
            recording = Recording(pair)


@only_minivmm(WHY)
@table(**METHODS)
def test_packets(t, method):
    """Whole packets of a channel, and its first one."""
    pair = Pair(t, method)
    for link in (1, 2):
        points = Recording(pair).packets(link)
        places = neighbours(points)
        for n, (at, first, second) in enumerate(places[:2] + places[len(places) // 2:][:2]):
            what = KINDS[n % 2]
            pair.disordered(Harm(what, at, link=link, **sized(what, first, second)))


@only_minivmm(WHY)
@table(**METHODS)
def test_pieces_of_packets(t, method):
    """Of any length, anywhere on a channel."""
    pair, pick = Pair(t, method), seeded()
    links = Recording(pair).links
    for n in range(PIECES):
        link = 1 + n % 2
        first, second = (pick.randrange(1, LARGEST) for _ in range(2))
        offset = pick.randrange(max(1, len(links[link][0]) - first - second))
        what = pick.choice(KINDS)
        pair.disordered(Harm(what, offset, link=link, **sized(what, first, second)))


@only_minivmm(WHY)
@table(**{f"{what}_{method}": {"what": what, "method": method}
          for what in ("cut", "end", "corrupt") for method in ("none", "zstd")})
def test_channel(t, what, method):
    """One channel alone is harmed: at every kind of boundary in turn, and anywhere."""
    pair, pick = Pair(t, method), seeded()
    points = Recording(pair).packets(1)
    places = [0, 4, points[1], points[1] + 700, points[2], pick.randrange(points[-1])]
    for n, offset in enumerate(places):
        pair.disordered(Harm(what, offset, link=1 + n % 2))


@only_minivmm(WHY)
@table(first={"n": 0}, header={"n": 1}, packet={"n": 2})
def test_channel_stalls(t, n):
    """It stays open and carries nothing more: a cancel ends it, at both ends."""
    pair = Pair(t, "none")
    points = Recording(pair).packets(1)
    assert pair.disordered(Harm("stall", (4, points[1] + 700, points[2])[n], link=1)) == "cancelled"
