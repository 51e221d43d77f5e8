"""A slow line between two network devices, which it makes: so many bits a second, and so late.

    slow_line.py NAME NAME --bits-per-s N --delay-ms N [--queue-bytes N]

Makes the two as TAP devices (they go when it ends) and carries what goes into the one out of the other, each way
with this rate, this delay and a queue that drops what it has no room for, as a router does. Prints `ready 0`, then
answers each line with `ok` or `error ...`:

    bytes                  answers `ok UP DOWN`: bytes carried from first to second and back, since the start
    rate N                 another rate from now on, bits a second
    quit

Ends when stdin closes. The kernel's own netem would do the same, but not every kernel has it.
"""

import argparse
import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
FRAME_MAX = 65536


def make(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return device


class Direction:
    """Frames on their way from one end to the other."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.frames = collections.deque()
        # When the line is free for the next frame.
        self.free = 0.0
        self.carried = 0

    def take(self, now, rate, delay, queue_bytes):
        while True:
            try:
                frame = os.read(self.source, FRAME_MAX)
            except OSError:  # nothing there, or the device is not up
                return
            if (self.free - now) * rate / 8 > queue_bytes:
                continue
            self.free = max(self.free, now) + len(frame) * 8 / rate
            self.frames.append((self.free + delay, frame))

    def give(self, now):
        while self.frames and self.frames[0][0] <= now:
            frame = self.frames.popleft()[1]
            self.carried += len(frame)
            try:
                os.write(self.target, frame)
            except OSError:  # the device at the end is not up: the frame is lost, as on any line
                pass


parser = argparse.ArgumentParser()
parser.add_argument("names", nargs=2)
parser.add_argument("--bits-per-s", type=float, required=True)
parser.add_argument("--delay-ms", type=float, required=True)
parser.add_argument("--queue-bytes", type=int, default=64 * 1024)
arguments = parser.parse_args()

one, two = (make(name) for name in arguments.names)
up, down = Direction(one, two), Direction(two, one)
rate, delay = arguments.bits_per_s, arguments.delay_ms / 1000
print("ready 0", flush=True)

while True:
    due = [direction.frames[0][0] for direction in (up, down) if direction.frames]
    wait = max(0.0, min(due) - time.monotonic()) if due else None
    readable, _, _ = select.select([one, two, sys.stdin], [], [], wait)
    now = time.monotonic()
    for direction in (up, down):
        direction.take(now, rate, delay, arguments.queue_bytes)
        direction.give(now)
    if sys.stdin in readable:
        words = sys.stdin.readline().split()
        if not words or words == ["quit"]:
            break
        if words == ["bytes"]:
            print("ok", up.carried, down.carried, flush=True)
        elif words[0] == "rate" and len(words) == 2:
            rate = float(words[1])
            print("ok", flush=True)
        else:
            print("error unknown command", flush=True)
