#!/usr/bin/python3
"""confine - run a program under the system call filter of a systemd unit

confine.py UNIT PROGRAM [ARGUMENT]...    what the unit's SystemCallFilter= does not allow ends the program (SIGSYS)
confine.py --allowed UNIT                prints what it allows

The groups (@system-service) are those of this machine's systemd-analyze. CONFINE_ALLOWED, as --allowed prints it, saves asking.
"""
import ctypes
import os
import re
import struct
import subprocess
import sys

UNISTD = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
LD_ARCH, LD_NR = (0x20, 0, 0, 4), (0x20, 0, 0, 0)      # words of struct seccomp_data
AUDIT_ARCH_X86_64 = 0xC000003E
KILL, ALLOW = (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


def groups():
    said = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    found, name = {}, None
    for line in said.splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = []
        elif line.startswith("    ") and "#" not in line:
            found[name].append(line.strip())
        elif not line.strip():
            name = None
    return found


def expand(words, sets):
    for word in words:
        if word.startswith("@"):
            yield from expand(sets[word], sets)
        else:
            yield word


def allowed(unit):
    """The first line is a list of what is allowed; later ones add to it or, with ~, take away."""
    sets = groups()
    with open(unit, encoding="utf-8") as f:
        lines = re.findall(r"^SystemCallFilter=(~?)(.+)$", f.read(), re.M)
    assert lines and not lines[0][0], f"{unit}: the first SystemCallFilter= has to allow something"
    result = set(expand(["@default"], sets))
    for without, words in lines:
        named = set(expand(words.split(), sets))
        result = result - named if without else result | named
    return result


def install(names):
    with open(UNISTD, encoding="ascii") as f:
        numbers = {name: int(n) for name, n in re.findall(r"#define __NR_(\w+) (\d+)", f.read())}
    code = [LD_ARCH, (0x15, 1, 0, AUDIT_ARCH_X86_64), KILL, LD_NR]
    for number in sorted(numbers[n] for n in names if n in numbers):
        code += [(0x15, 0, 1, number), ALLOW]
    code.append(KILL)
    text = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *c) for c in code))
    program = struct.pack("<HxxxxxxQ", len(code), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    for args in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*args):
            raise OSError(ctypes.get_errno(), "prctl")


def main():
    if sys.argv[1] == "--allowed":
        print(*sorted(allowed(sys.argv[2])))
        return
    given = os.environ.pop("CONFINE_ALLOWED", None)
    install(given.split() if given else allowed(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])


main()
