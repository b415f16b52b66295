"""Licences of the code that is linked into dunlin and loadtest: one list, and each text once.

    python3 packaging/third_party.py x86_64-unknown-linux-gnu

Reads what cargo has fetched, asks no network, and prints the same for the same Cargo.lock.
"""

import hashlib
import json
import pathlib
import subprocess
import sys

NAMES = ("license", "licence", "copying", "notice", "copyright")


def linked(target):
    """The packages that are linked in, by their ids: neither build scripts nor macros nor what tests need."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.check_output(command))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    wanted = [key for key, package in packages.items() if package["name"] in ("dunlin", "loadtest") and not package["source"]]
    seen = set()
    while wanted:
        key = wanted.pop()
        if key in seen:
            continue
        seen.add(key)
        for dependency in nodes[key]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                wanted.append(dependency["pkg"])
    others = [packages[key] for key in seen if packages[key]["source"]]
    return sorted(others, key=lambda package: (package["name"], package["version"]))


def texts(package):
    """The licence files at the top of a package."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [path for path in folder.iterdir() if path.is_file() and path.name.lower().startswith(NAMES)]
    found = [path.read_text(errors="replace").strip() for path in sorted(files)]
    # Where a package may be had under another licence as well, that one is taken.
    kept = [text for text in found if not text.startswith("GNU GENERAL PUBLIC LICENSE")]
    assert len(kept) == len(found) or " OR " in package["license"], f"{package['name']} is under the GPL alone"
    return kept


def main():
    packages = linked(sys.argv[1])
    users = {}
    print("Code of others that is part of the programs\n")
    for package in packages:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license'] or 'see its text below'}")
        for text in texts(package):
            key = hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
            users.setdefault(key, (text, []))[1].append(name)
    for text, names in sorted(users.values(), key=lambda value: value[1]):
        print(f"\n{'-' * 78}\n{', '.join(names)}\n\n{text}")


if __name__ == "__main__":
    main()
