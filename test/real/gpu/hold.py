"""Holds a known amount of memory on one GPU until it is killed, with nothing but the driver's own library.

Usage: hold.py BYTES
Prints `context` and the GPU's free and total bytes as CUDA tells them, then `held BYTES` once it has the memory. The
context of a process takes memory of its own beside what is asked: about half a gigabyte on a Hopper part.
"""

import ctypes
import signal
import sys

cuda = ctypes.CDLL("libcuda.so.1")


def call(name, *args):
    status = getattr(cuda, name)(*args)
    if status != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(status, ctypes.byref(text))
        sys.exit(f"{name}: {(text.value or b'unknown').decode()} ({status})")


def main():
    size = int(sys.argv[1])
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total, memory = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_uint64()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    print("context", free.value, total.value, flush=True)
    call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size))
    print("held", size, flush=True)
    while True:
        signal.pause()


main()
