"""Cuts the power of file systems: `cut DIRECTORY` shuts the ext4 of that directory down at once.

What the file system has only in memory, its journal included, is lost, as by a power cut: the
request is EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH of the kernel's fs/ext4/ext4.h.
"""

import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2

print("ready 0", flush=True)
for line in sys.stdin:
    command, directory = line.rstrip("\n").split(" ", 1)
    assert command == "cut", command
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(descriptor)
        print("ok", flush=True)
    except OSError as error:
        print(f"error {error}", flush=True)
