"""Threads of a program under test: finding one by its name, and ending it where it stands."""
import ctypes
import os


class Registers(ctypes.Structure):
    _fields_ = [(n, ctypes.c_ulonglong) for n in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
        "fs_base gs_base ds es fs gs").split()]


def thread_named(vm, name):
    for tid in os.listdir(f"/proc/{vm.pid}/task"):
        try:
            with open(f"/proc/{vm.pid}/task/{tid}/comm", encoding="ascii", errors="replace") as f:
                if f.read().strip() == name:
                    return int(tid)
        except FileNotFoundError:
            pass        # a thread that has ended meanwhile
    return None


def end_thread(tid):
    """The thread ends at once, wherever it waits: its system call becomes exit()."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request, data=None):
        assert libc.ptrace(request, tid, None, data) >= 0, os.strerror(ctypes.get_errno())

    ptrace(16)                              # PTRACE_ATTACH
    os.waitpid(tid, 0x40000000)             # __WALL
    regs = Registers()
    ptrace(12, ctypes.cast(ctypes.byref(regs), ctypes.c_void_p))
    with open(f"/proc/{tid}/mem", "rb", buffering=0) as f:
        f.seek(regs.rip - 2)
        assert f.read(2) == b"\x0f\x05", "the thread is in no system call"
    regs.rip -= 2
    regs.rax, regs.rdi, regs.orig_rax = 60, 0, (1 << 64) - 1    # exit
    ptrace(13, ctypes.cast(ctypes.byref(regs), ctypes.c_void_p))
    ptrace(17)                              # PTRACE_DETACH
