#!/usr/bin/env python3
"""Links of documents that are packed: those that lead to nothing in the package lead to the repository instead.

    packaging/links.py DIRECTORY            rewrites them in all Markdown files below DIRECTORY
    packaging/links.py --check DIRECTORY    says which lead nowhere, and fails if one does

DIRECTORY is laid out as the repository is. Run by packaging/pack.sh, and with --check by tests/packages.
"""

import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
HOME = "https://github.com/dunlin-mqtt/dunlin"
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def is_elsewhere(target):
    return re.match(r"[a-z]+:", target) is not None


def documents(root):
    return sorted(root.rglob("*.md"))


def rewritten(root, document):
    """The text of a document with links that lead somewhere."""
    place = document.parent.relative_to(root)

    def link(found):
        begin, target, anchor, end = found.groups()
        if is_elsewhere(target) or (document.parent / target).exists():
            return found.group()
        path = (REPOSITORY / place / target).resolve()
        if not path.exists():
            sys.exit(f"{document}: {target} is neither in the package nor in the repository")
        kind = "tree" if path.is_dir() else "raw" if path.suffix == ".svg" else "blob"
        return f"{begin}{HOME}/{kind}/main/{path.relative_to(REPOSITORY)}{anchor or ''}{end}"

    return LINK.sub(link, document.read_text())


def dead(document):
    targets = (found.group(2) for found in LINK.finditer(document.read_text()))
    return [target for target in targets if not is_elsewhere(target) and not (document.parent / target).exists()]


def main():
    check = sys.argv[1] == "--check"
    root = pathlib.Path(sys.argv[-1])
    found = documents(root)
    if len(found) < 2:
        sys.exit(f"{root}: there are no documents")
    wrong = 0
    for document in found:
        if not check:
            document.write_text(rewritten(root, document))
            continue
        for target in dead(document):
            print(f"{document}: {target} leads nowhere")
            wrong += 1
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
