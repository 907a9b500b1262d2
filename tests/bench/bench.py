#!/usr/bin/python3
"""Side by side with QEMU: the same tiny guest, the same host, in turn, in one run.

usage: bench.py [--runs N] [--only PATTERN] [--out DIR] [--old PATH] [--peer VERSION,...] [--congestion NAME]
                [--realtime] [--gib N,...]

--peer names the QEMU: 7.2 (the machine's own, if it is that one), 10.0 or 11.1, fetched by scripts/peer-root;
with commas, several: the first is in the table, and a second line per row has each of the others.

--congestion is the TCP congestion control of the rows over TCP (cubic, bbr); without it the host's own.

--realtime runs the programs of convert, compare and image_writes before all others of the host (as root), for a host
that has other work.

--gib are the sizes of the guests that are saved (background, snapshots): 1,4,8 without it.

--old is another build of minivmm, measured in the same turns: a second line per row has its figure and
this build over it, best run against best run.

Prints a table of medians and ratios; writes bench.json and bench.svg to DIR (default: build/bench).
A ratio is minivmm over QEMU; the last column says whether the aim is met. Nothing here fails because
of a figure: the table is the result.
"""
import argparse
import fnmatch
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]

import chart  # noqa: E402
import clients  # noqa: E402
import disks  # noqa: E402
import managed  # noqa: E402
import measure  # noqa: E402
import memory  # noqa: E402
import network  # noqa: E402
import peers  # noqa: E402
import postcopy  # noqa: E402
import saved  # noqa: E402
import saving  # noqa: E402
import tls  # noqa: E402
from measure import MIB  # noqa: E402
from vmm import PROGRAMS, Vmm  # noqa: E402

GIB = 1 << 30
GIVE_UP_S = 20
# capabilities, parameters; how many pages that shrink, and that do not
ENCODERS = {
    "plain": ((), {}, 4096, 4096),
    "xbzrle": (("xbzrle",), {}, 4096, 4096),
    "compress": (("compress",), {}, 4096, 1024),
    "multifd": (("multifd",), {"multifd_channels": 2}, 4096, 4096),
    "multifd zlib": (("multifd",), {"multifd_channels": 2, "multifd_compression": "zlib"}, 4096, 1024),
    "multifd zstd": (("multifd",), {"multifd_channels": 2, "multifd_compression": "zstd"}, 4096, 4096),
}
KINDS = ["minivmm", "qemu"]        # more peers and --old append theirs
RANDOM_FROM = 64 * MIB      # the guest's own memory is below
COPIED = 2 * GIB
TMP = f"/dev/shm/minivmm-bench-{os.getpid()}"


def against_old(values, larger_is_better):
    """The best run of each build: what else the host does only makes a run worse."""
    if not values.get("old"):
        return {}
    best = max if larger_is_better else min
    now, old = best(values["minivmm"]), best(values["old"])
    return {"old": old, "old_ratio": now / old if old else None}


class Bench:
    def __init__(self, runs, out, congestion=None, gib=saving.SIZES):
        self.runs = runs
        self.out = out              # the folder of the results
        self.gib = gib
        self.congestion = congestion
        self.rows = []
        self.count = 0

    # ---- pieces ----

    def pair(self, kind, guest, append, memory, backend, caps=(), params=None, ram=(None, None), hosts=None, ends=None):
        """A source that runs, a destination that waits for it, and its URI; ram: the files behind their memory; ends: TLS."""
        self.count += 1
        uri = f"tcp:{hosts.address}:4444" if hosts else f"unix:{TMP}/m{self.count}"
        options = dict(memory=memory, backend=backend)
        prefixes = hosts.prefixes if hosts else ((), ())
        extra = [ends.options(end) if ends else () for end in ("client", "server")]
        source = Vmm(kind, TMP, guest, append, name=f"s{self.count}", ram=ram[0], prefix=prefixes[0], extra=extra[0],
                     **options)
        dest = Vmm(kind, TMP, guest, append, name=f"d{self.count}", ram=ram[1], prefix=prefixes[1], extra=extra[1],
                   incoming="defer", **options)
        if ends:
            ends.use(source, dest)
        for vm in (source, dest):
            vm.capabilities("events", *caps)
            vm.cmd("migrate-set-parameters", **(params or {}))
        source.cmd("migrate-set-parameters", max_bandwidth=0)
        dest.cmd("migrate-incoming", uri=uri)
        return source, dest, uri

    def one_move(self, kind, write=None, writes=False, rewrites=0, patience=None, **how):
        """write: (first, bytes) of memory that gets random content beforehand; writes: the guest does.

        rewrites: the guest goes over so many pages, which are random then (-1: as they are).
        """
        source, dest, uri = self.pair(kind, **how)
        try:
            source.serial.expect("counting on|idle|writing")
            if rewrites:
                measure.fill_behind_stamps(source, rewrites)
                measure.dirtying(source)
                return measure.patient_move(source, dest, uri, patience)
            if write:
                measure.write_memory(source, *write)
            rate = measure.dirtying(source) if writes else 0
            return dict(measure.move(source, dest, uri), dirtied=rate)
        finally:
            source.close()
            dest.close()
            if how.get("ram"):
                os.unlink(how["ram"][1])

    def alternate(self, function):
        """{kind: [result, ...]}: in turn, and who is first in turn, so that what else the host does affects both."""
        results = {k: [] for k in KINDS}
        for i in range(self.runs):
            for kind in KINDS[i % len(KINDS):] + KINDS[:i % len(KINDS)]:
                results[kind].append(function(kind))
        return results

    def row(self, name, unit, values, aim, larger_is_better, note="", limit=None):
        """values: {kind: [figure, ...]}; aim: a bound of the ratio; limit: of minivmm's own figure; or None."""
        medians = {k: statistics.median(v) for k, v in values.items()}
        ours = medians["minivmm"]

        def beside(kind):
            """The ratio to that one, and whether the aims are met."""
            ratio = ours / medians[kind] if medians.get(kind) else None
            met = [] if aim is None or ratio is None else [ratio >= aim if larger_is_better else ratio <= aim]
            met += [] if limit is None else [ours <= limit]
            return {"qemu": medians.get(kind), "ratio": ratio, "met": all(met) if met else None}
        row = {"name": name, "unit": unit, "minivmm": ours, "aim": aim, "limit": limit,
               "larger_is_better": larger_is_better, "all": values, "note": note,
               "more": {k: beside(k) for k in values if k.startswith("qemu-")}, **beside("qemu")}
        row.update(against_old(values, larger_is_better))
        self.rows.append(row)
        print(line(row), flush=True)
        for kind, figures in row["more"].items():
            print(line({**row, **figures, "name": f"    beside {kind}", "note": ""}), flush=True)
        if "old" in row:
            print(old_line(row), flush=True)

    # ---- the works ----

    def copy(self, name, aim, random=True, **how):
        """2 GiB of random bytes or zeros, in memory that is backed already: see memory.py."""
        raw = []
        with memory.Warm(TMP, COPIED + RANDOM_FROM) as warm:
            measure.fill(warm.content, COPIED + RANDOM_FROM, RANDOM_FROM, random)

            def once(kind):
                return self.one_move(kind, guest="idle", append="", memory=f"{(COPIED + RANDOM_FROM) // MIB}M",
                                     backend="file", ram=(warm.content, warm.path("dest")), **how)
            for kind in KINDS:
                once(kind)      # the host backs the pages; not counted
            got = self.alternate(once)
            if random:
                raw = [measure.raw_copy(warm.content, RANDOM_FROM, warm.path("raw")) / MIB
                       for _ in range(self.runs)]
        self.row(f"{name}: rate", "MiB/s",
                 {k: [2048 / r["seen_s"] for r in v] for k, v in got.items()}, aim, True, warm.note)
        return got, raw

    def one_channel(self):
        got, raw = self.copy("2 GiB random, one channel", 2)
        self.row("the same against a raw socket pair", "MiB/s",
                 {"minivmm": [2048 / r["seen_s"] for r in got["minivmm"]], "qemu": raw}, 0.6,
                 True, "second figure: the raw copy")
        self.row("CPU seconds per GiB, both ends", "s",
                 {k: [r["cpu_s"] / 2 for r in v] for k, v in got.items()}, 2 / 3, False)
        self.row("resident beyond RAM after a move, source", "MiB",
                 {k: [r["source_beyond"] / MIB for r in v] for k, v in got.items()}, 0.25, False)
        self.row("resident beyond RAM after a move, destination", "MiB",
                 {k: [r["dest_beyond"] / MIB for r in v] for k, v in got.items()}, 0.25, False)

    def tcp(self):
        """Between two hosts, which is what most moves are."""
        with network.Hosts(self.congestion) as hosts:
            for name, caps, channels in (("one channel", (), 0), ("multifd, 2 channels", ("multifd",), 2),
                                         ("multifd, 4 channels", ("multifd",), 4),
                                         ("zero-copy-send, 2 channels", ("multifd", "zero-copy-send"), 2)):
                got, _ = self.copy(f"2 GiB random, TCP, {name}", 2.2, hosts=hosts, caps=caps,
                                   params={"multifd_channels": channels} if channels else None)
                self.row("CPU seconds per GiB, both ends", "s",
                         {k: [r["cpu_s"] / 2 for r in v] for k, v in got.items()}, 0.5, False, hosts.control())

    def default_memory(self):
        """The same with memory as it is without any option.

        The best run of each: where the host below has to back the pages first, both take ten times
        as long, and which of the two meets that is chance.
        """
        got = self.alternate(lambda kind: self.one_move(
            kind, guest="idle", append="", memory=f"{(COPIED + RANDOM_FROM) // MIB}M",
            backend="anonymous", write=(RANDOM_FROM, COPIED)))
        self.row("the same, memory without options, best run: rate", "MiB/s",
                 {k: [max(2048 / r["seen_s"] for r in v)] for k, v in got.items()}, None, True)

    def tls(self):
        """Encrypted; the aim is to lose nothing against QEMU, for both spend their time in one library."""
        folder = os.path.join(TMP, "tls")
        os.mkdir(folder)
        ends = tls.Ends(folder)
        for name, caps, params in (("one channel", (), None), ("multifd 2", ("multifd",), {"multifd_channels": 2})):
            got, _ = self.copy(f"2 GiB random, TLS, {name}", 1, caps=caps, params=params, ends=ends)
            self.row("CPU seconds per GiB, both ends", "s",
                     {k: [r["cpu_s"] / 2 for r in v] for k, v in got.items()}, 1, False)

    def multifd_none(self):
        self.copy("2 GiB random, multifd 2", 1.5, caps=("multifd",), params={"multifd_channels": 2})

    def multifd_zstd(self):
        self.copy("2 GiB random, multifd 2 zstd", 1.2, caps=("multifd",),
                  params={"multifd_channels": 2, "multifd_compression": "zstd"})

    def save_and_load(self, kind, ram):
        """Seconds for a file with mapped-ram, multifd 2, and out of it; QEMU's file is not yet on the disk then.

        ram: the files behind the memory of both; None: memory without options.
        """
        self.count += 1
        path, memory_size = f"{TMP}/saved{self.count}", f"{(COPIED + RANDOM_FROM) // MIB}M"
        vms = [Vmm(kind, TMP, "idle", "", name=f"{name}{self.count}", memory=memory_size,
                   backend="file" if file else "anonymous", ram=file, incoming=incoming)
               for name, file, incoming in (("s", ram[0], None), ("d", ram[1], "defer"))]
        try:
            for vm in vms:
                vm.capabilities("events", "mapped-ram", "multifd")
                vm.cmd("migrate-set-parameters", max_bandwidth=0, multifd_channels=2)
            vms[0].serial.expect("idle")
            measure.warm_cache(path, COPIED)
            return measure.save(vms[0], path), measure.load(vms[1], path)
        finally:
            for vm in vms:
                vm.close()
            for name in (path, ram[1]):
                if name and os.path.exists(name):
                    os.unlink(name)

    def mapped(self):
        """Files with mapped-ram; a QEMU that has it (QEMU=...) is needed for the second figure."""
        with memory.Warm(TMP, COPIED + RANDOM_FROM) as warm:
            measure.fill(warm.content, COPIED + RANDOM_FROM, RANDOM_FROM, True)

            def once(kind):
                return self.save_and_load(kind, (warm.content, warm.path("dest")))
            for kind in KINDS:
                once(kind)      # the host backs the pages; not counted
            got = self.alternate(once)
            loads = self.alternate(lambda kind: self.save_and_load(kind, (warm.content, None))[1])
        for i, what in enumerate(("save", "load")):
            self.row(f"2 GiB random, mapped-ram, multifd 2, {what}: rate", "MiB/s",
                     {k: [2048 / r[i] for r in v] for k, v in got.items()}, 1.3, True, warm.note)
        self.row("the same, load, memory without options, best run: rate", "MiB/s",
                 {k: [max(2048 / s for s in v)] for k, v in loads.items()}, 1.3, True,
                 "best run: see default_memory in bench.py")

    def saved_guest(self, gib, random_bytes):
        """The path of a guest of so much memory, saved by minivmm; QEMU loads it, too."""
        path, size = f"{TMP}/lazy{gib}", f"{(random_bytes + RANDOM_FROM) // MIB}M"
        with memory.Warm(TMP, random_bytes + RANDOM_FROM) as warm:
            measure.fill(warm.content, random_bytes + RANDOM_FROM, RANDOM_FROM, True)
            vm = Vmm("minivmm", TMP, "idle", "", name=f"save{gib}", memory=size, ram=warm.content)
            try:
                vm.capabilities("events", "mapped-ram")
                vm.cmd("migrate-set-parameters", max_bandwidth=0)
                vm.serial.expect("idle")
                measure.save(vm, path)
            finally:
                vm.close()
        return path, size

    def lazy(self):
        """A saved guest until it runs, and until all is there; a QEMU with mapped-ram (QEMU=...) is needed for the second figure."""
        for gib in (1, 4, 8):
            path, size = self.saved_guest(gib, gib << 30)

            def once(kind, at=path, size=size):
                self.count += 1
                vm = Vmm(kind, TMP, "idle", "", name=f"lazy{self.count}", memory=size, backend="anonymous",
                         incoming="defer")
                try:
                    vm.capabilities("events", "mapped-ram")
                    return measure.load_and_run(vm, at)
                finally:
                    vm.close()
            got = self.alternate(once)
            os.unlink(path)
            self.row(f"{gib} GiB random, mapped-ram, until the guest runs", "ms",
                     {k: [r[0] * 1000 for r in v] for k, v in got.items()}, 1 / 20 if gib == 8 else None, False,
                     "to reach: 10 ms at each size")
            self.row(f"{gib} GiB random, mapped-ram, until all is there: rate", "MiB/s",
                     {k: [gib * 1024 / r[1] for r in v] for k, v in got.items()}, 1, True)

    def snapshot_load(self):
        saved.loads(self, TMP)

    def untouched(self):
        for backend, aim in (("anonymous", 1 / 10), ("memfd", 1 / 50)):
            got = self.alternate(lambda kind, b=backend: self.one_move(
                kind, guest="idle", append="", memory="8192M", backend=b))
            self.row(f"untouched 8 GiB, {backend}: time", "ms",
                     {k: [r["seen_s"] * 1000 for r in v] for k, v in got.items()}, aim, False)
            self.row(f"untouched 8 GiB, {backend}: destination populated", "MiB",
                     {k: [r["dest_ram"] / MIB for r in v] for k, v in got.items()}, None, False,
                     "aim: below 16 MiB")

    def zeros(self):
        self.copy("2 GiB of touched zeros", 2, random=False)
        self.copy("2 GiB of touched zeros, multifd 2", 2, random=False, caps=("multifd",), params={"multifd_channels": 2})

    def dirtying(self):
        for mb in (50, 200, 500):
            pages = mb * 1000000 // 4096
            got = self.alternate(lambda kind, p=pages: self.one_move(
                kind, guest="counter", append=f"pages=25000 rate={p}", memory="256M",
                backend="file", writes=True))
            real = "it really writes " + ", ".join(
                f"{statistics.median(r['dirtied'] for r in v) / 1e6:.0f}" for v in got.values()) + " MB/s"
            self.row(f"guest told to dirty {mb} MB/s: total time", "ms",
                     {k: [r["seen_s"] * 1000 for r in v] for k, v in got.items()}, 1, False, real)
            self.row(f"guest told to dirty {mb} MB/s: pause", "ms",
                     {k: [r["pause_ms"] for r in v] for k, v in got.items()}, 1, False,
                     "limit 300 ms, aim: at most 310 ms too")

    def encoders(self):
        """A guest that rewrites 16 MiB as fast as it can; 4 MiB where an encoder needs long for a page."""
        for name, (caps, params, shrinks, random) in ENCODERS.items():
            for content, pages in (("shrinks", shrinks), ("random", random)):
                got = self.alternate(lambda kind, c=caps, p=params, n=pages, r=content: self.one_move(
                    kind, guest="writer", append=f"pages={n}", memory="64M", backend="file",
                    caps=c, params=p, rewrites=n if r == "random" else -1, patience=GIVE_UP_S))
                self.row(f"{name}, rewritten memory that {'shrinks' if content == 'shrinks' else 'is random'}: "
                         "total time", "ms", {k: [r["seen_s"] * 1000 for r in v] for k, v in got.items()}, 1,
                         False, f"cancelled after {GIVE_UP_S} s: " + ", ".join(
                             f"{sum(r['given_up'] for r in v)} of {len(v)}" for v in got.values()))

    def idle(self):
        got = self.alternate(lambda kind: self.one_move(
            kind, guest="idle", append="", memory="256M", backend="file"))
        self.row("idle guest: pause, from STOP here to RESUME there", "ms",
                 {k: [r["pause_ms"] for r in v] for k, v in got.items()}, 0.5, False,
                 "aim: at most 5 ms too")

    def start_once(self, kind):
        """From exec to the first byte that the first instructions of a firmware image print."""
        image = os.path.join(TMP, "first.bin")
        if not os.path.exists(image):
            code = bytes([0xba, 0xf8, 0x03, 0xb0, 0x21, 0xee, 0xf4, 0xeb, 0xfd])  # '!' to 0x3f8; hlt
            rom = bytearray(65536)
            rom[0:len(code)] = code
            rom[0xfff0:0xfff3] = bytes([0xe9, 0x0d, 0x00])      # jmp to offset 0
            with open(image, "wb") as f:
                f.write(rom)
        self.count += 1
        start = time.monotonic()
        vm = Vmm(kind, TMP, None, name=f"f{self.count}", memory="128M", backend="anonymous",
                 firmware=image)
        try:
            vm.serial.expect("!")
            took = time.monotonic() - start
            beyond = measure.resident(vm.pid, vm.ram_bytes)[0]
            cpu = measure.scheduled_seconds(vm.pid)
        finally:
            vm.close()
        return took, beyond, cpu

    def start(self):
        got = self.alternate(self.start_once)
        self.row("process start to the first instruction's byte", "ms",
                 {k: [r[0] * 1000 for r in v] for k, v in got.items()}, 0.2, False)
        self.row("the same, CPU time", "ms", {k: [r[2] * 1000 for r in v] for k, v in got.items()}, None, False)
        self.row("resident beyond RAM, idle", "MiB",
                 {k: [r[1] / MIB for r in v] for k, v in got.items()}, 0.25, False, "aim: at most 6 MiB too")

    def background(self):
        saving.background(self, TMP)

    def snapshots(self):
        saving.snapshots(self, TMP)

    def postcopy_faults(self):
        postcopy.faults(self, TMP)

    def postcopy_sweep(self):
        postcopy.sweep(self, TMP)

    def postcopy_start(self):
        postcopy.start(self, TMP)

    def postcopy_sparse(self):
        postcopy.sparse(self, TMP)

    def postcopy_memory(self):
        postcopy.memory(self, TMP)

    def scaling(self):
        for gib in (1, 4, 16):
            got = self.alternate(lambda kind, g=gib: self.one_move(
                kind, guest="idle", append="", memory=f"{g * 1024}M", backend="anonymous"))
            self.row(f"sparse {gib} GiB: time", "ms",
                     {k: [r["seen_s"] * 1000 for r in v] for k, v in got.items()}, None, False,
                     "aim: the same for each size")

    def convert(self):
        disks.convert(self, TMP)

    def compare(self):
        disks.compare(self, TMP)

    def client(self):
        clients.status(self, TMP)

    def image_writes(self):
        disks.writes(self, TMP)

    def libvirt_probe(self):
        managed.probe(self)

    def libvirt_start(self):
        managed.start(self)

    def libvirt_domstats(self):
        managed.domstats(self)


WORKS = ("start", "idle", "one_channel", "default_memory", "multifd_none", "multifd_zstd", "tls", "tcp", "mapped", "lazy", "untouched",
         "zeros", "dirtying", "encoders", "background", "snapshots", "snapshot_load", "scaling", "postcopy_faults",
         "postcopy_sweep", "postcopy_start", "postcopy_sparse", "postcopy_memory", "convert", "compare", "image_writes",
         "libvirt_probe", "libvirt_start", "libvirt_domstats",
         "client")


def line(r):
    def number(v):
        return "-" if v is None else f"{v:.1f}" if v < 1000 else f"{v:.0f}"
    ratio = "-" if r["ratio"] is None else f"{r['ratio']:.3f}"
    aim = "" if r["aim"] is None else f"{'>=' if r['larger_is_better'] else '<='} {r['aim']:.3g}"
    limit = "" if r["limit"] is None else f"(at most {r['limit']:g} {r['unit']})"
    met = {None: "", True: "met", False: "NOT MET"}[r["met"]]
    return (f"{r['name']:50} {number(r['minivmm']):>9} {number(r['qemu']):>9} {r['unit']:6} {ratio:>8} "
            f"{aim:>8} {met:8} {limit} {r['note']}").rstrip()


def old_line(r):
    worse = r["old_ratio"] is not None and (
        r["old_ratio"] < 0.97 if r["larger_is_better"] else r["old_ratio"] > 1.03)
    ratio = "-" if r["old_ratio"] is None else f"{r['old_ratio']:.3f}"
    return f"{'    over the old build, best runs':50} {r['old']:9.2f} {'':9} {r['unit']:6} {ratio:>8}" + (
        "  more than 3 % worse" if worse else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="*")
    parser.add_argument("--out", default="build/bench")
    parser.add_argument("--old")
    parser.add_argument("--peer", default="7.2")
    parser.add_argument("--congestion")
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--gib", default=",".join(map(str, saving.SIZES)))
    args = parser.parse_args()
    disks.REALTIME = args.realtime
    first, *more = args.peer.split(",")
    for version in (first, *more):
        kind = "qemu" if version == first else f"qemu-{version}"
        path, why = peers.qemu(version)
        if why:
            parser.error(f"there is no QEMU {version}: {why}")
        PROGRAMS[kind] = dict(PROGRAMS["qemu"], path=path, file_uri=version != "7.2")
        KINDS.extend([kind] if kind not in KINDS else [])
    print(f"QEMU here is {args.peer}")
    if args.old:
        PROGRAMS["old"] = dict(PROGRAMS["minivmm"], path=os.path.abspath(args.old))
        KINDS.append("old")
    shutil.rmtree(TMP, ignore_errors=True)
    os.makedirs(TMP)
    os.makedirs(args.out, exist_ok=True)
    bench = Bench(args.runs, args.out, args.congestion, [int(n) for n in args.gib.split(",")])
    print(f"{'work':50} {'minivmm':>9} {'QEMU':>9} {'unit':6} {'ratio':>8} {'aim':>8}")
    failed = []
    try:
        for name in WORKS:
            if fnmatch.fnmatch(name, args.only):
                try:
                    getattr(bench, name)()
                except Exception as e:      # a work that cannot be done is a line, not the end
                    failed.append(name)
                    print(f"{name}: could not be measured: {e}", flush=True)
    finally:
        shutil.rmtree(TMP, ignore_errors=True)
    host = subprocess.run(["uname", "-srm"], capture_output=True, text=True, check=False).stdout.strip()
    with open(os.path.join(args.out, "bench.json"), "w", encoding="ascii") as f:
        json.dump({"host": host, "cpus": os.cpu_count(), "runs": args.runs, "qemu": args.peer, "rows": bench.rows,
                   "not_measured": failed}, f, indent=1)
    with open(os.path.join(args.out, "bench.svg"), "w", encoding="ascii") as f:
        f.write(chart.svg(bench.rows))
    print(f"written: {args.out}/bench.json {args.out}/bench.svg")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
