"""Build stand-ins for the CUDA libraries that torch is linked against and a CPU run never calls.

PyPI's torch for Linux is the CUDA build. The dynamic loader refuses to open libtorch until every library in its
NEEDED list exists and every symbol with a version is defined, although nothing is called on a machine without a GPU.
Fetching the real ones costs gigabytes. A stub defines each symbol that torch imports as a function that returns 1,
which is an error code in every CUDA interface: a call made by mistake fails visibly instead of pretending to work.

Usage: make_stub_libraries.py [SITE_PACKAGES]      needs gcc, nm and readelf
Source of the method: ELF gABI (DT_NEEDED) and the GNU symbol versioning rules (ld manual, VERSION command).
"""

import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile

# Which imported symbols belong to which library. The pattern must tell neighbours apart: cuBLAS and cuBLASLt share a
# prefix, and so do cuSPARSE and cuSPARSELt.
OWNER = {
    "libcublas": r"cublas(?!Lt)",
    "libcublasLt": r"cublasLt",
    "libcudart": r"(__)?cuda",
    "libcudnn": r"cudnn",
    "libcufft": r"cufft",
    "libcufile": r"cuFile",
    "libcupti": r"cupti",
    "libcurand": r"curand",
    "libcusolver": r"cusolver",
    "libcusparse": r"cusparse(?!Lt)",
    "libcusparseLt": r"cusparseLt",
    "libnccl": r"nccl",
    "libnvrtc": r"nvrtc",
    "libnvshmem_host": r"nvshmem",
}


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_by(library: pathlib.Path) -> set[str]:
    """The sonames in the library's NEEDED list."""
    return set(re.findall(r"\(NEEDED\).*\[(.+?)\]", output_of("readelf", "-dW", str(library))))


def imports_of(library: pathlib.Path) -> set[tuple[str, str]]:
    """The (symbol, version) pairs the library expects from others; the version is '' when it has none."""
    pairs = set()
    for line in output_of("nm", "-D", "--undefined-only", str(library)).splitlines():
        symbol, _, version = line.split()[-1].partition("@")
        pairs.add((symbol, version.strip("@")))
    return pairs


def compile_stub(target: pathlib.Path, symbols: set[tuple[str, str]]) -> None:
    """Write a shared library named `target` that defines every symbol under its version."""
    names = sorted({symbol for symbol, _ in symbols})
    versions: dict[str, list[str]] = {}
    for symbol, version in sorted(symbols):
        if version:
            versions.setdefault(version, []).append(symbol)
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "stub.c")
        source.write_text("".join(f"long {name}(void) {{ return 1; }}\n" for name in names))
        command = ["gcc", "-w", "-fno-builtin", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{target.name}"]
        if versions:
            script = pathlib.Path(folder, "stub.map")
            script.write_text("".join(f"{version} {{ global: {'; '.join(symbols)}; }};\n"
                                      for version, symbols in versions.items()))
            command.append(f"-Wl,--version-script={script}")
        output_of(*command, "-o", str(target), str(source))


def main() -> None:
    site = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_paths()["platlib"])
    torch_lib = site / "torch" / "lib"
    libraries = sorted(torch_lib.glob("*.so*"))
    if not libraries:
        sys.exit(f"no torch libraries in {torch_lib}")
    # What an earlier run or a real wheel already put in place is left alone, so that a second run changes nothing.
    present = {path.name for folder in (torch_lib, *site.glob("nvidia/*/lib")) for path in folder.glob("*.so*")}
    needed = set().union(*(needed_by(library) for library in libraries))
    imports = set().union(*(imports_of(library) for library in libraries))
    for soname in sorted(needed - present):
        owner = OWNER.get(soname.split(".so")[0])
        if owner is None:
            continue  # libc and its like: the system has them.
        symbols = {pair for pair in imports if re.match(owner + r"[A-Z_]?", pair[0])}
        compile_stub(torch_lib / soname, symbols)
        print(f"stub {soname}: {len(symbols)} symbols")


if __name__ == "__main__":
    main()
