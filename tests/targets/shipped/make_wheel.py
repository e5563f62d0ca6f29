"""Packs the package `limits` as a wheel, as `pip wheel` does, but without asking PyPI for what builds one. `make_wheel.py FOLDER` prints its path."""
import os
import sys
import zipfile

NAME, VERSION = "limits", "1.0"
INFORMATION = f"{NAME}-{VERSION}.dist-info"
FILES = {
    "METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
    "WHEEL": "Wheel-Version: 1.0\nGenerator: awaitwhat\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}

path = os.path.join(sys.argv[1], f"{NAME}-{VERSION}-py3-none-any.whl")
source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "packages", NAME, "__init__.py")
with zipfile.ZipFile(path, "w") as wheel:
    wheel.write(source, f"{NAME}/__init__.py")
    for name, content in FILES.items():
        wheel.writestr(f"{INFORMATION}/{name}", content)
    record = [*wheel.namelist(), f"{INFORMATION}/RECORD"]
    wheel.writestr(f"{INFORMATION}/RECORD", "".join(f"{name},,\n" for name in record))
print(path)
