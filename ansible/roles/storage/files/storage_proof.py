"""Proves together with the other nodes that the shared storage behaves as a commit relies on.

Arguments: the storage's path, the uid to be, a name for this proof, this node's name, the step, and all nodes' names.
Steps: `act` writes, syncs and renames a file, and creates files that all nodes want, exclusively; `look` sees the others';
`move` renames its own again; `again` sees the others'; `clean` removes everything. Ends with 1 and one sentence a fault.
"""

import contextlib
import os
import random
import sys
import time

RACES = 100
WAIT_SECONDS = 3


def sync_directory(path):
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def content(node, proof):
    return f"{node} {proof} ".encode() * 4096


class Proof:
    def __init__(self, root, proof, me, nodes):
        self.directory = os.path.join(root, f".longshore-proof-{proof}")
        self.proof, self.me, self.nodes, self.root = proof, me, nodes, root
        self.faults = []

    def at(self, name):
        return os.path.join(self.directory, name)

    def listing(self):
        return set(os.listdir(self.directory))

    def act(self):
        os.makedirs(self.directory, exist_ok=True)
        handle = os.open(self.at(f"part-{self.me}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content(self.me, self.proof))
            file.flush()
            os.fsync(file.fileno())
        os.rename(self.at(f"part-{self.me}"), self.at(f"whole-{self.me}"))
        sync_directory(self.directory)
        # All begin together where they can; where Ansible's forks are fewer than the nodes, they can't.
        until = time.monotonic() + WAIT_SECONDS
        while not {f"whole-{node}" for node in self.nodes} <= self.listing() and time.monotonic() < until:
            time.sleep(0.02)
        names = [f"race-{i}" for i in range(RACES)]
        random.shuffle(names)
        for name in names:
            try:
                handle = os.open(self.at(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(f"{self.me}\n")
            with open(self.at(f"won-{self.me}"), "a", encoding="utf-8") as file:
                file.write(f"{name}\n")

    def look(self):
        seen = self.listing()
        for node in self.nodes:
            if not any(name.endswith(f"-{node}") for name in seen):
                self.faults.append(f"{self.me} doesn't see the files of {node} in {self.root}: mount the same storage on all nodes")
                return
            if f"whole-{node}" not in seen or f"part-{node}" in seen:
                self.faults.append(f"{self.me} doesn't see {node}'s rename at once: switch off the client's caches of {self.root} (NFS: lookupcache=none,actimeo=0)")
                continue
            with open(self.at(f"whole-{node}"), "rb") as file:
                if file.read() != content(node, self.proof):
                    self.faults.append(f"{self.me} reads other bytes than {node} wrote and synced: switch off write-behind and the client's caches of {self.root}")
        won = {}
        for node in self.nodes:
            try:
                with open(self.at(f"won-{node}"), encoding="utf-8") as file:
                    for name in file.read().split():
                        won.setdefault(name, []).append(node)
            except FileNotFoundError:
                continue
        for name, winners in sorted(won.items()):
            if len(winners) > 1:
                self.faults.append(f"{', '.join(winners)} all created the same file exclusively: {self.root} doesn't honour O_EXCL between hosts, so use another file system")
                break
        if len(won) < RACES:
            self.faults.append(f"{RACES - len(won)} of {RACES} files that a node created exclusively are gone from {self.root}: use another file system")

    def move(self):
        os.rename(self.at(f"whole-{self.me}"), self.at(f"moved-{self.me}"))
        sync_directory(self.directory)

    def again(self):
        seen = self.listing()
        for node in self.nodes:
            there, gone = os.path.exists(self.at(f"moved-{node}")), not os.path.exists(self.at(f"whole-{node}"))
            if not there or not gone or f"moved-{node}" not in seen or f"whole-{node}" in seen:
                self.faults.append(f"{self.me} still sees {node}'s file by its old name: switch off the client's caches of {self.root} (NFS: lookupcache=none,actimeo=0)")

    def clean(self):
        """All nodes do this at once, since each one's storage may be another, which is what was to be found out."""
        try:
            for name in self.listing():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.at(name))
            os.rmdir(self.directory)
        except FileNotFoundError:
            pass


def main():
    root, uid, proof, me, step, *nodes = sys.argv[1:]
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    it = Proof(root, proof, me, nodes)
    try:
        getattr(it, step)()
    except OSError as error:
        it.faults.append(f"{me}: {error.strerror} at {error.filename or root}: mend the storage or its mount")
    for fault in it.faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if it.faults else 0)


if __name__ == "__main__":
    main()
