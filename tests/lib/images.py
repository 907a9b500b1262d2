"""Disk images for tests: minivmm-img and qemu-img on the same input, and the samples of tests/data/qcow2."""
import json
import os
import random
import re
import subprocess

from vmm import BUILD, ROOT

PROGRAMS = {"minivmm": os.environ.get("MINIVMM_IMG", os.path.join(BUILD, "minivmm-img")), "qemu": "qemu-img"}
SAMPLES = os.path.join(ROOT, "tests", "data", "qcow2")
GUARD = 120
KIB, MIB = 1 << 10, 1 << 20


class Result:
    """What a program answered."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"status {self.status}\n{self.out}{self.err}"


def run(kind, *args, cwd=None):
    """minivmm-img or qemu-img with these arguments."""
    words = [PROGRAMS[kind], *map(str, args)]
    return Result(subprocess.run(words, capture_output=True, text=True, timeout=GUARD, check=False, cwd=cwd,
                                 stdin=subprocess.DEVNULL, env=dict(os.environ, TZ="UTC")))


def ok(kind, *args, cwd=None):
    """The same, and it must succeed."""
    result = run(kind, *args, cwd=cwd)
    assert result.status == 0, f"{kind} {args}: {result}"
    return result


def io(path, *commands, fmt="qcow2"):
    """Commands of qemu-io on an image."""
    words = ["qemu-io", "-f", fmt]
    for c in commands:
        words += ["-c", c]
    done = subprocess.run([*words, path], capture_output=True, text=True, timeout=GUARD, check=False)
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr


def sample(t, name):
    """A copy of tests/data/qcow2/NAME.qcow2."""
    t.need("zstd")
    path = t.path(name + ".qcow2")
    subprocess.run(["zstd", "-qdf", os.path.join(SAMPLES, name + ".qcow2.zst"), "-o", path], check=True)
    return path


def raw_disk(path, mib=8, seed=1):
    """A raw file of random bytes, of bytes that shrink, of zeroes that are written, and of holes."""
    numbers = random.Random(seed)
    with open(path, "wb") as f:
        f.truncate(mib * MIB)
        at = 0
        while at < mib * MIB:
            n = min(numbers.choice((512, 4 * KIB, 60 * KIB, 64 * KIB, 300 * KIB)), mib * MIB - at)
            kind = numbers.randrange(4)
            f.seek(at)
            if kind == 0:
                f.write(numbers.randbytes(n))
            elif kind == 1:
                f.write((b"%d minivmm " % at * (n // 8 + 1))[:n])
            elif kind == 2:
                f.write(bytes(n))
            at += n
    return path


def same_disk(one, one_format, other, other_format):
    """qemu-img is the judge."""
    ok("qemu", "compare", "-f", one_format, "-F", other_format, one, other)


def clean(path):
    """Neither errors nor leaks, says qemu-img."""
    ok("qemu", "check", "-f", "qcow2", path)


def without_space(text):
    """Output of info without what the file system decides."""
    return re.sub(r'(disk size: |"actual-size": ).*', r"\1-", text)


class Holder:
    """qemu-io with the image open for writing, until kill()."""

    def __init__(self, path, fmt="qcow2"):
        self.process = subprocess.Popen(["qemu-io", "-f", fmt, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        first = self.process.stdout.read(8)
        assert first == b"qemu-io>", first      # it is open now, and locked
        self.pid = self.process.pid

    def kill(self):
        self.process.kill()
        self.process.wait()
