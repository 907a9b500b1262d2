"""What is moved to and from each QEMU: the rows of test_peers.py and of docs/peers.md.

release x way x mode x devices x vCPUs, without what cannot be: IMPOSSIBLE says why.
"""
from itertools import product

RELEASES = ("7.2", "10.0", "11.1")
WAYS = ("to", "from")
DEVICES = {"none": "no device", "idle": "devices without a driver", "working": "drivers at work"}
CPUS = (1, 2)

ACROSS, SLOW = 3 << 20, 256 << 10     # bytes a second that a guest's pages do not fit into; shrunk pages


def multifd(method):
    return {"multifd_channels": 2, "multifd_compression": method}


# How the page calls it; capabilities of the source and of both ends; parameters of both; the channel.
MODES = {
    "plain": {"text": "plain"},
    "xbzrle": {"text": "`xbzrle`", "source": ("xbzrle",)},
    "compress": {"text": "`compress`", "both": ("compress",), "rate": SLOW},
    "multifd": {"text": "`multifd`", "both": ("multifd",), "parameters": multifd("none")},
    "zstd": {"text": "`multifd`, zstd", "both": ("multifd",), "parameters": multifd("zstd"), "rate": SLOW},
    "ack": {"text": "`switchover-ack`", "both": ("return-path", "switchover-ack")},
    "file": {"text": "a file", "scheme": "file"},
    "mapped": {"text": "a `mapped-ram` file", "both": ("mapped-ram",), "scheme": "file"},
    "mapped_multifd": {"text": "a `mapped-ram` file, `multifd`", "both": ("mapped-ram", "multifd"),
                       "parameters": multifd("none"), "scheme": "file"},
}

# (mode, release): why there are no such rows.
IMPOSSIBLE = {
    ("compress", "10.0"): "QEMU removed `compress` in 9.1",
    ("compress", "11.1"): "QEMU removed `compress` in 9.1",
    ("ack", "7.2"): "QEMU has `switchover-ack` since 8.1",
    ("mapped", "7.2"): "QEMU has `mapped-ram` since 9.0",
    ("mapped_multifd", "7.2"): "QEMU has `mapped-ram` since 9.0",
}

SECTIONS = "migration.multifd-flush-after-each-section=on"
LEGACY_ACK = "migration.switchover-ack-legacy=on"
# (mode, release, way): what minivmm is started with; QEMU is told nothing anywhere.
NEEDS = {
    ("multifd", "7.2", "to"): SECTIONS,
    ("zstd", "7.2", "to"): SECTIONS,
    ("ack", "10.0", "to"): LEGACY_ACK,
    ("ack", "10.0", "from"): LEGACY_ACK,
}

COLUMNS = ("release", "way", "mode", "devices", "cpus")


def name_of(*row):
    return "_".join(map(str, row)).replace(".", "_")


ROWS = {name_of(*row): dict(zip(COLUMNS, row))
        for row in product(RELEASES, WAYS, MODES, DEVICES, CPUS) if (row[2], row[0]) not in IMPOSSIBLE}
