"""minivmm-ctl drives QEMU 7.2, 10.0 and 11.1 as it drives minivmm, as far as these have what is asked for."""
import os

import ctl
import peers
from case import table
from moves import goes_on

VERSIONS = {version: {"version": version} for version in ("7.2", "10.0", "11.1")}


def end(t, kind, guest="counter", append="pages=100 rate=2000", **options):
    return ctl.machine(t, guest, append, kind=kind, **options)


@table(**VERSIONS)
def test_moves_there_and_back(t, version):
    """From minivmm, with limits and a deadline, and back by postcopy; settings are put back."""
    qemu = peers.kind(t, version)
    here, uri = end(t, "minivmm"), f"unix:{t.path('move')}"
    there = end(t, qemu, incoming=uri)
    done = ctl.run(t, here, "move", "--max-pause", "500", "--deadline", "50", uri)
    assert done.status == 0 and done.out[-1].startswith("moved to "), done
    there.wait_running()
    t.forget(here)
    back = end(t, "minivmm", incoming="defer")
    back.capabilities("postcopy-ram")
    back.cmd("migrate-incoming", uri=f"unix:{t.path('back')}")
    before = there.cmd("query-migrate-parameters"), there.cmd("query-migrate-capabilities")
    done = ctl.run(t, there, "move", "--postcopy-after", "0", "--rate", "100k", "--deadline", "50", f"unix:{t.path('back')}")
    assert done.status == 0, done
    assert (there.cmd("query-migrate-parameters"), there.cmd("query-migrate-capabilities")) == before
    back.wait_running()
    goes_on(back)


@table(**VERSIONS)
def test_live_line(t, version):
    """Phase, percent and advice are worked out of QEMU's figures; Ctrl-C cancels."""
    qemu = peers.kind(t, version)
    source = end(t, qemu)
    end(t, qemu, incoming=f"unix:{t.path('move')}")
    run = ctl.Terminal(t, source, "move", "--rate", "400k", "--max-pause", "1", f"unix:{t.path('move')}")
    run.until(r"pass [2-9]")
    run.type("\x03")
    run.until(r"\(c\)ancel")
    run.type("c")
    assert run.end() == 1, run.text
    assert "cancelled: " in run.text, run.text
    shown = ctl.percents(run.lines())
    assert shown and shown == sorted(shown), run.text


@table(**VERSIONS)
def test_deadline_of_ours(t, version):
    """QEMU knows none: it is kept here."""
    qemu = peers.kind(t, version)
    source = end(t, qemu)
    dest = end(t, qemu, incoming=f"unix:{t.path('move')}")
    slow = ("--rate", "400k", "--max-pause", "1", "--deadline", "1")
    done = ctl.run(t, source, "move", *slow, f"unix:{t.path('move')}")
    assert done.status == 1 and "the deadline has passed" in done.said, done
    t.forget(dest)
    dest = end(t, qemu, incoming=f"unix:{t.path('again')}")
    done = ctl.run(t, source, "move", *slow, "--or", "force", f"unix:{t.path('again')}")
    assert done.status == 0, done
    dest.wait_running()


@table(**VERSIONS)
def test_save_load_snapshot(t, version):
    """A release without file: is handed a descriptor; status, snapshots and refusals in words."""
    qemu = peers.kind(t, version)
    disk = t.qcow2("16M")
    source, path = end(t, qemu, disk=disk), t.path("saved")
    done = ctl.run(t, source, "status")
    assert done.status == 0 and f": running, QEMU {version}." in done.out[0] and "qcow2" in done.out[1], done
    for words, said in ((("save", "monday"), "saved as monday"), (("load", "monday"), "loaded monday"),
                        (("delete", "monday"), "deleted monday")):
        done = ctl.run(t, source, "snapshot", *words)
        assert done.status == 0 and done.out[-1].startswith(said), done
    if version == "7.2":
        done = ctl.run(t, source, "save", "--mapped", path)
        assert done.status == 1 and f"--mapped: QEMU {version}.22 has no capability 'mapped-ram'" in done.said, done
    else:
        done = ctl.run(t, source, "move", "--compress", f"unix:{path}")
        assert done.status == 1 and "has no capability 'compress'" in done.said, done
    done = ctl.run(t, source, "save", "--quit", path)
    assert done.status == 0 and done.out[-1].startswith(f"saved to {path}"), done
    source.wait()
    assert not os.path.exists(path + ".part")
    dest = end(t, qemu, disk=disk, incoming="defer")
    done = ctl.run(t, dest, "load", path)
    assert done.status == 0, done
    goes_on(dest)
    assert ctl.run(t, dest, "pause").status == 0 and dest.status() == "paused"
    assert ctl.run(t, dest, "quit").status == 0
    dest.wait()
