"""Multiplies bfloat16 matrices on GPU 0 for some seconds and prints what came of it. Usage: multiply.py SECONDS"""

import sys
import time

import torch

SIZE = 8192


def main():
    left = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16)
    right = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16)
    torch.mm(left, right)
    torch.cuda.synchronize()
    print("multiplying", flush=True)
    began, products = time.monotonic(), 0
    while time.monotonic() - began < float(sys.argv[1]):
        for _ in range(20):
            torch.mm(left, right)
        torch.cuda.synchronize()
        products += 20
    seconds = time.monotonic() - began
    print(f"teraflops {2 * SIZE**3 * products / seconds / 1e12:.0f}", flush=True)


main()
