"""The program among others on its host: descriptors, signals, terminals, logs, its working directory."""
import fcntl
import os
import pty
import resource
import select
import signal
import socket
import subprocess
import termios
import time

from case import only_minivmm, table
from moves import machine
from program import argv, connect, monitor, start
from qmp import GUARD, Closed, Hang, Qmp
from vmm import PROGRAMS, guest_path

ONLY = "QEMU's own affair"


def said(process):
    """Everything that it says on stderr, up to its end."""
    words = process.communicate(timeout=GUARD)[1]
    return words.decode("utf-8", "replace")


def read_until(fd, wanted, seen=b""):
    while wanted not in seen:
        ready, _, _ = select.select([fd], [], [], GUARD)
        if not ready:
            raise Hang(f"no {wanted!r}, only {seen!r}")
        part = os.read(fd, 65536)
        if not part:
            raise Closed(f"no {wanted!r} before the end, only {seen!r}")
        seen += part
    return seen


# ---- descriptors ----

@only_minivmm(ONLY)
@table(all_closed={"which": (0, 1, 2)}, stdin={"which": (0,)}, stderr={"which": (2,)})
def test_standard_descriptors_closed(t, which):
    """/dev/null takes the place of what is closed: no pipe or file of the program's own does."""
    def close():
        for fd in which:
            os.close(fd)
    process = start(t, argv("-serial", "null", *monitor(t)), preexec_fn=close, stderr=subprocess.DEVNULL)
    qmp = connect(t.path("qmp"), process)
    for fd in which:
        assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
    process.send_signal(signal.SIGTERM)
    qmp.wait_closed()
    assert process.wait(GUARD) == 0


@only_minivmm(ONLY)
@table(chardev={"option": ["-chardev", "socket,id=c,fd=%d"]},
       listening={"option": ["-chardev", "socket,id=c,fd=%d,server=on,wait=off"]},
       netdev={"option": ["-netdev", "tap,id=n,fd=%d"]},
       stream={"option": ["-netdev", "stream,id=n,addr.type=fd,addr.str=%d"]},
       incoming={"option": ["-incoming", "fd:%d"]})
def test_descriptor_not_inherited(t, option):
    """A number that was not passed on is the program's own: refused by name, for any number."""
    for fd in list(range(3, 40)) + [999]:
        process = start(t, argv("-serial", "null", "-S", option[0], option[1] % fd))
        words = said(process)
        assert process.returncode == 1, (fd, process.returncode, words)
        assert f"file descriptor {fd} is not one that minivmm was started with" in words, (fd, words)


@only_minivmm(ONLY)
def test_descriptor_used_twice(t):
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    process = start(t, argv("-S", "-chardev", f"socket,id=a,fd={fd}", "-chardev", f"socket,id=b,fd={fd}"),
                    pass_fds=[fd])
    words = said(process)
    assert process.returncode == 1, words
    assert f"chardev 'b': file descriptor {fd} is used by chardev 'a' already" in words, words
    ours.close()


@only_minivmm(ONLY)
def test_exit_with_parent(t):
    """-run-with exit-with-parent=on: the program ends in good order when its parent is killed."""
    vm = t.vmm("idle", extra=["-run-with", "exit-with-parent=on,async-teardown=off", "-pidfile", t.path("pid")],
               prefix=["/bin/sh", "-c", '"$@" & wait', "sh"])
    with open(t.path("pid"), encoding="ascii") as f:
        ours = int(f.read())
    assert ours != vm.pid
    end = os.pidfd_open(ours)
    vm.signal(signal.SIGKILL)
    assert vm.qmp.event("SHUTDOWN")["data"] == {"guest": False, "reason": "host-signal"}
    assert select.select([end], [], [], GUARD)[0]
    os.close(end)
    assert not os.path.exists(t.path("pid"))


@only_minivmm(ONLY)
def test_commands_inherit_nothing(t):
    """exec: has its pipe and what the program was started with."""
    vm = machine(t)
    path = t.path("fds")
    vm.cmd("migrate", uri=f"exec:ls -l /proc/self/fd > {path}; cat > /dev/null")
    assert vm.wait_migration("completed", "failed") == "completed", vm.migration()
    with open(path, encoding="ascii") as f:
        open_ = [line.split()[-3:] for line in f if "->" in line]
    # ls has the folder that it lists, too
    assert [w for w in open_ if int(w[0]) > 2 and "/proc/" not in w[2]] == [], open_


@only_minivmm(ONLY)
@table(four={"limit": 4}, six={"limit": 6}, twelve={"limit": 12}, twenty={"limit": 20})
def test_too_few_descriptors(t, limit):
    process = start(t, argv("-serial", "null", *monitor(t)),
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    words = said(process)
    if limit == 4 and "error while loading shared libraries" in words:
        return      # the program is not reached
    assert process.returncode == 1, (process.returncode, words)
    assert words.count("\n") == 1 and "Too many open files" in words and "ulimit -n" in words, words


@only_minivmm(ONLY)
@table(pipe={"kind": "pipe"}, socket={"kind": "socket"}, terminal={"kind": "terminal"})
def test_stdio_flags_are_left_alone(t, kind):
    """Another program that shares the standard descriptors does not get EAGAIN."""
    if kind == "pipe":
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
    elif kind == "socket":
        one, other = (s.detach() for s in socket.socketpair())
        ours_in = ours_out = one
        theirs_in = theirs_out = other
    else:
        one, other = pty.openpty()
        ours_in = ours_out = one
        theirs_in = theirs_out = other
    process = start(t, argv("-serial", "stdio", *monitor(t)), stdin=theirs_in, stdout=theirs_out)
    qmp = connect(t.path("qmp"), process)
    read_until(ours_out, b"idle")
    for fd in (theirs_in, theirs_out):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK, (kind, fd)
    os.write(ours_in, b"r")
    read_until(ours_out, b"R end")
    qmp.cmd("quit")
    assert process.wait(GUARD) == 0


# ---- the log ----

def fill(fd):
    """A pipe that has no room left."""
    os.set_blocking(fd, False)
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(fd, True)


@only_minivmm(ONLY)
def test_log_never_blocks(t):
    """stderr is a pipe that is not read: the program goes on, and says later what was lost."""
    ours, theirs = os.pipe()
    fill(theirs)
    process = start(t, argv("-serial", "null", *monitor(t)), stderr=theirs)
    qmp = connect(t.path("qmp"), process)
    for _ in range(3):
        qmp.cmd("migrate", uri="exec:false")
        while qmp.cmd("query-migrate")["status"] != "failed":
            pass
    os.close(theirs)
    seen = os.read(ours, 1 << 20)
    assert set(seen) == {ord("x")}, seen[-300:]
    qmp.cmd("quit")
    assert process.wait(GUARD) == 0
    words = b""
    while part := os.read(ours, 65536):
        words += part
    lost = words.decode().splitlines()[0]
    assert lost.startswith("minivmm: ") and lost.endswith(" messages were lost: they were not read"), lost
    assert int(lost.split()[1]) >= 6, lost      # two a save, and more


@only_minivmm(ONLY)
def test_sigterm_with_a_full_stderr(t):
    ours, theirs = os.pipe()
    fill(theirs)
    process = start(t, argv("-serial", "null", *monitor(t)), stderr=theirs)
    connect(t.path("qmp"), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(GUARD) == 0
    os.close(ours)


@only_minivmm(ONLY)
def test_logs_are_reopened(t):
    """SIGHUP: -D, logfile= and a file chardev that were renamed are made anew; the program runs on."""
    names = ["log", "copy", "out"]
    process = start(t, argv("-D", t.path("log"), *monitor(t), "-chardev", f"null,id=n,logfile={t.path('copy')}",
                            "-chardev", f"file,id=f,path={t.path('out')}", "-serial", "chardev:n"),
                    start_new_session=True)
    qmp = connect(t.path("qmp"), process)
    for n in names:
        os.rename(t.path(n), t.path(n + ".1"))
    process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + GUARD
    while not all(os.path.exists(t.path(n)) for n in names):
        assert time.monotonic() < deadline and process.poll() is None, (os.listdir(t.tmp), process.returncode)
    qmp.cmd("system_reset")
    while not os.path.getsize(t.path("copy")):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGTERM)
    assert process.wait(GUARD) == 0
    with open(t.path("log"), encoding="utf-8") as f:
        assert "terminating on signal 15" in f.read()


@only_minivmm(ONLY)
def test_rotated_in_place(t):
    """A file that is copied and emptied while it is written has no hole."""
    process = start(t, argv(*monitor(t), "-serial", f"file:{t.path('out')}"))
    qmp = connect(t.path("qmp"), process)
    deadline = time.monotonic() + GUARD

    def wait_text():
        while not os.path.getsize(t.path("out")):
            assert time.monotonic() < deadline
    wait_text()
    qmp.cmd("stop")
    os.truncate(t.path("out"), 0)
    qmp.cmd("system_reset")
    qmp.cmd("cont")
    wait_text()
    with open(t.path("out"), "rb") as f:
        assert b"\0" not in f.read(), "a hole"
    qmp.cmd("quit")
    assert process.wait(GUARD) == 0


@only_minivmm(ONLY)
@table(kept={"keep": "on"}, emptied={"keep": "off"})
def test_logappend(t, keep):
    path = t.path("copy")
    with open(path, "w", encoding="ascii") as f:
        f.write("older\n")
    process = start(t, argv(*monitor(t), "-serial", "chardev:n", "-chardev",
                            f"null,id=n,logfile={path},logappend={keep}"))
    qmp = connect(t.path("qmp"), process)
    qmp.cmd("quit")
    assert process.wait(GUARD) == 0
    with open(path, encoding="ascii") as f:
        assert f.read().startswith("older\n") == (keep == "on")


# ---- signals, the terminal ----

@only_minivmm(ONLY)
@table(term={"number": signal.SIGTERM}, int={"number": signal.SIGINT}, hup={"number": signal.SIGHUP})
def test_signal_before_the_guest_runs(t, number):
    """Waiting for a client: sockets and the PID file are removed, and it is said why it ends."""
    process = start(t, argv("-serial", "null", "-qmp", f"unix:{t.path('other')},server=on,wait=off",
                            *monitor(t, wait="on")))
    read_until(process.stderr.fileno(), b"waiting for connection")
    assert os.path.exists(t.path("qmp"))
    process.send_signal(number)
    words = said(process)
    assert process.returncode == 1, (process.returncode, words)
    assert f"ended by signal {int(number)} while waiting for a connection" in words, words
    assert not os.path.exists(t.path("qmp")) and not os.path.exists(t.path("other"))


def modes(fd):
    return termios.tcgetattr(fd)[:4]


def wait_modes(fd, fits):
    deadline = time.monotonic() + GUARD
    while not fits(modes(fd)):
        if time.monotonic() > deadline:
            raise Hang(f"the terminal stays in mode {modes(fd)}")
        os.sched_yield()


def on_terminal(t, *more):
    """A process whose controlling terminal is 'theirs'; (process, ours, theirs)."""
    ours, theirs = pty.openpty()

    def take():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    process = start(t, argv("-serial", "stdio", *more), stdin=theirs, stdout=theirs, preexec_fn=take)
    return process, ours, theirs


@only_minivmm(ONLY)
def test_terminal_is_raw_last(t):
    """While the program waits for its monitor the terminal is as it was, and after it too."""
    process, _, theirs = on_terminal(t, *monitor(t, wait="on"))
    before = modes(theirs)
    read_until(process.stderr.fileno(), b"waiting for connection")
    assert modes(theirs) == before, "raw before there is a guest"
    qmp = connect(t.path("qmp"))
    words = read_until(process.stderr.fileno(), b"\n")
    if b"Ctrl-a x" not in words:
        read_until(process.stderr.fileno(), b"Ctrl-a x ends minivmm")
    wait_modes(theirs, lambda m: not m[3] & termios.ICANON)
    qmp.cmd("quit")
    assert process.wait(GUARD) == 0
    assert modes(theirs) == before


@only_minivmm(ONLY)
@table(abort={"number": signal.SIGABRT}, fault={"number": signal.SIGSEGV}, quit={"number": signal.SIGQUIT},
       term={"number": signal.SIGTERM}, key={"number": None})
def test_terminal_is_restored(t, number):
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)   # a shell's background job ignores it, and so would minivmm
    process, ours, theirs = on_terminal(t)
    before = modes(theirs)
    read_until(ours, b"idle")
    wait_modes(theirs, lambda m: not m[3] & termios.ICANON)
    if number:
        process.send_signal(number)
    else:
        os.write(ours, b"\x01x")
    died = number not in (None, signal.SIGTERM)
    assert process.wait(GUARD) == (-number if died else 0)
    assert modes(theirs) == before, (before, modes(theirs))


@only_minivmm(ONLY)
def test_terminal_while_stopped(t):
    """Ctrl-z gives the terminal back, and what continues the program takes it again."""
    process, ours, theirs = on_terminal(t)
    before = modes(theirs)
    read_until(ours, b"idle")
    wait_modes(theirs, lambda m: not m[3] & termios.ICANON)
    process.send_signal(signal.SIGTSTP)
    wait_modes(theirs, lambda m: m == before)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    wait_modes(theirs, lambda m: not m[3] & termios.ICANON)
    os.write(ours, b"\x01x")
    assert process.wait(GUARD) == 0
    assert modes(theirs) == before


@only_minivmm(ONLY)
def test_terminal_hangs_up(t):
    """The terminal goes away: the program ends, though there is a log to reopen."""
    process, ours, theirs = on_terminal(t, "-D", t.path("log"))
    read_until(ours, b"idle")
    os.close(theirs)
    os.close(ours)
    assert process.wait(GUARD) == 0


@only_minivmm(ONLY)
def test_pmemsave_into_a_pipe(t):
    """A pipe that no other program reads is refused at once, not waited for."""
    vm = t.vmm("idle")
    os.mkfifo(t.path("pipe"))
    error = vm.qmp.fails("pmemsave", val=0, size=4096, filename=t.path("pipe"))
    assert error == f"Could not open '{t.path('pipe')}': it is a pipe or a socket; give the name of a regular file", error


@table(device={"extra": ["-device", "virtio-blk-device,drve=x"], "words": "drve' not found (did you mean drive?)"},
       disk={"extra": ["-device", "virtio-blk-device,drive=x", "-S"],
             "words": "minivmm: -device virtio-blk-device,drive=x: Property 'virtio-blk-device.drive' can't find value 'x'"},
       card={"extra": ["-device", "virtio-net-device", "-S"], "words": "minivmm: -device virtio-net-device: "},
       tables={"extra": ["-dump-vmstate", "/nope/x"], "words": "minivmm: -dump-vmstate /nope/x: "},
       tree={"extra": ["-machine", "dumpdtb=/nope/x"], "words": "minivmm: -machine dumpdtb=/nope/x: "},
       command={"extra": ["-incoming", "exec:exit 3"], "words": "cut short (the command ended with status 3)"},
       object={"extra": ["-object", "memory-backend-fle,id=x"], "words": "(did you mean memory-backend-file?)"},
       model={"extra": ["-cpu", "nope"], "words": "-cpu nope: unable to find CPU model"},
       log={"extra": ["-D", "/nope/x", "-S"], "words": "minivmm: -D /nope/x: "},
       pidfile={"extra": ["-pidfile", "/nope/x", "-S"], "words": "minivmm: -pidfile /nope/x: "})
@only_minivmm(ONLY)
def test_option_is_named(t, extra, words):
    """The option at fault is named, not that there is nothing to run."""
    process = start(t, argv(*extra, guest=None))
    said_words = said(process)
    assert process.returncode == 1 and words in said_words and "nothing to run" not in said_words, said_words


@only_minivmm(ONLY)
def test_nothing_to_run(t):
    process = start(t, argv(guest=None))
    words = said(process)
    assert process.returncode == 1 and "there is nothing to run: give -kernel" in words, words


# ---- the working directory ----

@only_minivmm(ONLY)
def test_daemonize_keeps_paths(t):
    """Relative paths mean the folder of the start, also later, and what was made there is removed."""
    t.need("kvm")
    args = argv("-daemonize", "-pidfile", "pid", "-D", "log", "-serial", "file:out", "-qmp",
                "unix:qmp,server=on,wait=off", guest="counter")
    done = subprocess.run(args, cwd=t.tmp, timeout=GUARD, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done
    with open(t.path("pid"), encoding="ascii") as f:
        pid = int(f.read())
    pidfd = os.pidfd_open(pid)
    try:
        qmp = Qmp.connect(t.path("qmp"))
        qmp.cmd("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        for uri, made in (("file:state", "state"), ("exec:cat > piped", "piped")):
            qmp.cmd("migrate", uri=uri)
            end = qmp.any_event(lambda e: e["event"] == "MIGRATION" and e["data"]["status"] in
                                ("completed", "failed"), "the end")
            assert end["data"]["status"] == "completed", qmp.cmd("query-migrate")
            assert os.path.getsize(t.path(made)) > 0 and not os.path.exists("/" + made)
            qmp.cmd("cont")
        qmp.cmd("pmemsave", val=0, size=4096, filename="memory")
        assert os.path.getsize(t.path("memory")) == 4096
        for n in ("log", "out"):
            os.unlink(t.path(n))
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + GUARD
        while not (os.path.exists(t.path("log")) and os.path.exists(t.path("out"))):
            assert time.monotonic() < deadline
        qmp.cmd("quit")
        ready, _, _ = select.select([pidfd], [], [], GUARD)
        assert ready
    except BaseException:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        raise
    finally:
        os.close(pidfd)
    assert not os.path.exists(t.path("pid")) and not os.path.exists(t.path("qmp")), os.listdir(t.tmp)


# ---- files ----

@only_minivmm(ONLY)
def test_file_size_limit(t):
    """A limit of the host is an error like any other."""
    vm = machine(t, prefix=["prlimit", "--fsize=100000"], backend="anonymous", append="pages=1800 rate=2000")
    vm.cmd("migrate", uri=f"file:{t.path('state')}")
    assert vm.wait_migration("completed", "failed") == "failed"
    assert "File too large" in vm.migration()["error-desc"], vm.migration()
    assert vm.alive() and not os.path.exists(t.path("state"))
    if vm.status() != "running":
        vm.qmp.event("RESUME")


@only_minivmm(ONLY)
def test_ram_file_with_something_else(t):
    """A file that holds data is not enlarged and overwritten."""
    path = t.path("precious")
    with open(path, "wb") as f:
        f.write(b"precious" * 100)
    process = start(t, argv("-S", "-M", "memory-backend=r", "-object",
                            f"memory-backend-file,id=r,size=24M,share=on,mem-path={path}"))
    words = said(process)
    assert process.returncode == 1 and path in words and "800 bytes" in words, words
    with open(path, "rb") as f:
        assert f.read() == b"precious" * 100
