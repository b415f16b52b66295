"""Takes out of a container image what differs from build to build: the id of the container that it was made in.

    python3 packaging/settle_image.py FROM TO

Both are archives as `docker load` and `podman load` take them. Only what these read is written again.
"""

import hashlib
import io
import json
import sys
import tarfile


def main():
    source = tarfile.open(sys.argv[1])
    (image,) = json.load(source.extractfile("manifest.json"))
    config = json.load(source.extractfile(image["Config"]))
    del config["container"]
    # That of the container, once more, which engines do not read.
    config.pop("container_config", None)
    text = json.dumps(config, sort_keys=True).encode()
    image["Config"] = f"{hashlib.sha256(text).hexdigest()}.json"
    files = {name: source.extractfile(name).read() for name in image["Layers"]}
    files[image["Config"]] = text
    files["manifest.json"] = json.dumps([image]).encode()
    with tarfile.open(sys.argv[2], "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    main()
