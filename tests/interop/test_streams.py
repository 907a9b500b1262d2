"""Real streams of QEMU through minivmm: loaded, saved again, and compared field by field.

QEMU writes the streams when the test runs; its own description of them says where each field is.
With --kind qemu it is QEMU that loads and saves, which shows what differs by nature.
"""
import stream
from case import table
from moves import destination, goes_on, load_uri, machine, save_uri, wait_saved

# Fields that hold times, or what follows from them, by section and name.
TIMES = {
    "timer": {"cpu_ticks_offset", "cpu_clock_offset"},
    "mc146818rtc": {"last_update", "base_rtc", "offset", "next_alarm_time", "next_periodic_time",
                    "periodic_timer", "update_timer", "alarm_timer", "coalesced_timer", "cmos_data",
                    "current_tm.tm_sec", "current_tm.tm_min", "cmos_index"},
    "kvmclock": {"clock"},
    "apic": {"initial_count_load_time", "next_time", "timer_expiry", "count_shift", "timer"},
    "cpu": {"env.tsc", "env.system_time_msr"},
    "i8254": {"channels"},
    "serial": {"divider", "fifo_timeout_timer"},
}


def leaves(described, prefix=""):
    """(name, size) of every field in order, those of subsections behind."""
    for field in described.get("fields", []):
        total = field["size"] * field.get("array_len", 1)
        inner = field.get("struct")
        if inner and "array_len" not in field:
            yield from leaves(inner, prefix)
        elif total:
            yield prefix + field["name"], total
    for sub in described.get("subsections", []):
        yield prefix + sub["vmsd_name"] + " header", 6 + len(sub["vmsd_name"])
        yield from leaves(sub, prefix + sub["vmsd_name"] + ".")


def fields(s, record):
    """{name: bytes} of one section, by the stream's description (equal names get a number)."""
    device = next(d for d in s.description["devices"]
                  if d["name"] == record.idstr and d["instance_id"] == record.instance)
    found, at = {}, 0
    for name, size in leaves(device) if "size" not in device else [("data", device["size"])]:
        key, n = name, 1
        while key in found:
            n += 1
            key = f"{name}#{n}"
        found[key] = record.payload[at:at + size]
        at += size
    assert at == len(record.payload), f"{record.idstr}: {at} of {len(record.payload)} bytes described"
    return found


def is_time(idstr, name):
    names = TIMES.get(idstr.split("/")[-1], ())
    plain = name.split("#")[0]
    return any(plain == n or plain.endswith("." + n) for n in names)


def differences(a, b):
    """Sections and fields of two streams that differ, but for times."""
    sections_a, sections_b = set(a.sections()), set(b.sections())
    found = [f"section {s} only in one" for s in sections_a ^ sections_b]
    for record in [r for r in a.records if r.tag == stream.TAG_FULL]:
        other = b.section(record.idstr, record.instance)
        if not other:
            continue
        if len(record.payload) != len(other.payload):
            found.append(f"{record.idstr}: {len(record.payload)} and {len(other.payload)} bytes")
            continue
        theirs = stream.Record(tag=other.tag, start=0, end=0, idstr=record.idstr,
                               instance=record.instance, payload=other.payload)
        fields_b = fields(a, theirs)        # the first stream's description serves for both
        for name, value in fields(a, record).items():
            if value != fields_b[name] and not is_time(record.idstr, name):
                found.append(f"{record.idstr} {record.instance}: {name} {value.hex()[:80]} "
                             f"{fields_b[name].hex()[:80]}")
    return found


def write(vm, path):
    vm.cmd("migrate", uri=save_uri(vm.kind, path))
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    wait_saved(vm, path)
    return stream.load(path)


@table(
    idle={"options": {"guest": "idle", "append": ""}},
    never_started={"options": {"guest": "idle", "append": "", "started": False, "paused": True}},
    counter={"options": {"guest": "counter", "append": "pages=50 rate=1000"}},
    two_cpus={"options": {"guest": "smp-counter", "append": "pages=50 rate=1000", "cpus": 2}},
    devices={"options": {"guest": "smp-counter", "append": "pages=50 rate=1000 every=8", "rng": True,
                         "disk": True, "net": True}},
)
def test_load_and_save_again(t, options):
    """Nothing is lost and nothing invented: every section, every field, every page of RAM."""
    t.need("qemu", t.kind)
    options = dict(options)
    guest, append, started = options.pop("guest"), options.pop("append"), options.pop("started", True)
    if options.get("disk"):
        options["disk"] = t.disk()
    if options.get("net"):
        options["net"] = t.net().path
    source = machine(t, guest, append, started, kind="qemu", **options)
    if guest != "idle":
        goes_on(source, options.get("cpus", 1))
    first = write(source, t.path("first"))
    middle = destination(t, source, load_uri(t.kind, t.path("first")), kind=t.kind, paused=True)
    assert middle.wait_loaded() == "completed", middle.migration()
    second = write(middle, t.path("second"))

    found = [d for d in differences(first, second) if not d.startswith("globalstate")]
    assert not found, "\n".join(found)
    for name, block in first.blocks.items():
        if not name.startswith("/rom@"):
            pages = [hex(i) for i in range(0, len(block), 4096)
                     if block[i:i + 4096] != second.blocks[name][i:i + 4096]]
            assert not pages, f"block {name} differs at {pages[:8]}"
