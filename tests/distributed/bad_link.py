"""A slow and lossy link between two network namespaces: HOST ADDRESS HOST ADDRESS DELAY LOSS.

It replaces `tc netem` on kernels without it. Each namespace has a TUN device. This process carries
packets between them: it holds each for DELAY seconds and loses the fraction LOSS. It prints "up"
when both devices are up, and carries packets until it is killed.
"""

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

DEVICE = "link0"
TUN_SET, TUN, NO_PACKET_INFO = 0x400454CA, 0x0001, 0x1000  # from linux/if_tun.h
NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET
LARGEST_PACKET = 2**16


def open_device(host, address):
    """Return a file that reads and writes the packets of `host`."""
    with open(f"/run/netns/{host}") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), NETWORK_NAMESPACE):
            raise OSError(ctypes.get_errno(), f"cannot enter {host}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUN_SET, struct.pack("16sH", DEVICE.encode(), TUN | NO_PACKET_INFO))
    for command in (
        ("addr", "add", f"{address}/24", "dev", DEVICE),
        ("link", "set", DEVICE, "up"),
        ("link", "set", "lo", "up"),
    ):
        subprocess.run(["ip", *command], check=True)
    return device


def carry(devices, delay, loss, draw):
    """Move packets from either device to the other until the process is killed."""
    other = dict(zip(devices, reversed(devices), strict=True))
    waiting, number = [], 0
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for device in select.select(devices, [], [], pause)[0]:
            packet = os.read(device, LARGEST_PACKET)
            if draw.random() >= loss:
                number += 1
                heapq.heappush(waiting, (time.monotonic() + delay, number, other[device], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, device, packet = heapq.heappop(waiting)
            os.write(device, packet)


if __name__ == "__main__":
    host, address, other_host, other_address, delay, loss = sys.argv[1:]
    ends = [open_device(host, address), open_device(other_host, other_address)]
    print("up", flush=True)
    carry(ends, float(delay), float(loss), random.Random(0))
