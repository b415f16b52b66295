"""Makes packaging/seccomp.json: the default profile of podman and buildah, and io_uring beside it.

    python3 packaging/seccomp.py < /usr/share/containers/seccomp.json > packaging/seccomp.json

The file on standard input comes with Debian's golang-github-containers-common (github.com/containers/common, Apache-2.0).
Container engines leave io_uring out of their defaults; nothing else of what they refuse is allowed here.
"""

import json
import sys

IO_URING = ["io_uring_enter", "io_uring_register", "io_uring_setup"]


def main():
    profile = json.load(sys.stdin)
    refused = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ERRNO" for name in rule["names"]}
    for name in IO_URING:
        assert name not in refused, f"{name} is refused by name in this profile: take it out of that rule first"
    profile["syscalls"].append({"names": IO_URING, "action": "SCMP_ACT_ALLOW", "args": [], "comment": "dunlin", "includes": {}, "excludes": {}})
    json.dump(profile, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
