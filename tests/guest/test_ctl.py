"""minivmm-ctl: moves, saves and loads by it, what it prints and how it ends; against QEMU in interop/test_ctl_qemu.py."""
import json
import os

import ctl
from case import table
from moves import goes_on, machine


def two(t, **options):
    """A running guest and one that waits for it, each with a monitor for minivmm-ctl."""
    source = ctl.machine(t, **options)
    uri = f"unix:{t.path('move')}"
    return source, ctl.machine(t, incoming=uri, **options), uri


@table(plain={"options": []}, limits={"options": ["--rate", "0", "--max-pause", "500", "--deadline", "50", "--or", "force"]},
       encoders={"options": ["--auto-converge", "--xbzrle-cache", "1M"]})
def test_move(t, options):
    source, dest, uri = two(t)
    before = source.cmd("query-migrate-parameters"), source.cmd("query-migrate-capabilities")
    done = ctl.run(t, source, "move", *options, uri)
    assert done.status == 0, done
    assert done.out[-1].startswith(f"moved to {uri}: the guest stood still for "), done
    assert any(line.startswith("STOP: ") for line in done.out), done
    assert "\r" not in done.text and "\033" not in done.text
    dest.wait_running()
    goes_on(dest)
    assert (source.cmd("query-migrate-parameters"), source.cmd("query-migrate-capabilities")) == before
