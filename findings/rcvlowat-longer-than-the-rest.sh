#!/bin/bash
# Linux TCP: a blocking recv() with SO_RCVLOWAT sleeps on though all that it has to wait for is there
#
# version    Linux (seen with 6.18), SO_RCVLOWAT on TCP sockets; python3
# guess      as socket(7) has it: a blocking read "normally blocks until it has received the smaller of the low water
#            mark value or the requested amount"
# behaviour  that is what recv() would return, but what wakes it up is the mark alone: the bytes that lie in the queue
#            must reach it, whatever was asked for and whatever this call has taken already. A recv() of 600 bytes
#            behind a mark of 1000 does not see 600 bytes that come while it sleeps; one of 1500 that has taken 600
#            does not see 500 more. The call comes back when more arrives, at the end of the stream, or at SO_RCVTIMEO. The
#            same bytes are returned at once when they were there before the call. So a program may set the mark for
#            poll() only, with recv() never waiting, and never above what is still to come
# seen       "600 of 600 behind the mark: before at once, during timeout; 1100 of 1500 in two parts: timeout, 1100"
#
# Fails when a sleeping recv() returns. Needs python3 and the loopback interface; takes two seconds.
set -eu
try=$(cat <<'P'
import socket
import struct
import threading
import time

MARK, PATIENCE_S = 1000, 1


def pair():
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs = listener.accept()[0]
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, MARK)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE_S, 0))
    return ours, theirs


def asleep(tid):
    with open(f"/proc/self/task/{tid}/stat", encoding="ascii") as f:
        return f.read().rsplit(")", 1)[1].split()[0] == "S"


def received(sock, size, out):
    """What one recv() returns, and whether the time had run out then; out gets the thread's id first."""
    out.append(threading.get_native_id())
    start = time.monotonic()
    try:
        got = len(sock.recv(size))
    except BlockingIOError:
        got = 0
    out.append(("timeout" if time.monotonic() - start >= PATIENCE_S else "at once", got))


def while_asleep(first, size, rest):
    """'first' bytes are there before, 'rest' come while recv(size) sleeps."""
    ours, theirs = pair()
    out = []
    if first:
        ours.sendall(bytes(first))
        theirs.recv(first, socket.MSG_PEEK)
    thread = threading.Thread(target=received, args=(theirs, size, out))
    thread.start()
    while not out or (len(out) < 2 and not asleep(out[0])):
        time.sleep(0.001)
    if rest:
        ours.sendall(bytes(rest))
    thread.join()
    return out[1]


before, during, parts = while_asleep(600, 600, 0), while_asleep(0, 600, 600), while_asleep(600, 1500, 500)
print(f"600 of 600 behind the mark: before {before[0]}, during {during[0]}; "
      f"1100 of 1500 in two parts: {parts[0]}, {parts[1]}")
P
)
seen=$(python3 -c "$try")
echo "$seen"
[ "$seen" = "600 of 600 behind the mark: before at once, during timeout; 1100 of 1500 in two parts: timeout, 1100" ]
