"""Looks at one host, as root, and changes nothing on it.

Reads a request as JSON from the argument (base64), writes {"faults": [{"check", "say"}], "facts", "clock"}. `say` is one
sentence that says what to change; it doesn't name the host.
"""

import base64
import errno
import glob
import ipaddress
import json
import os
import platform
import pwd
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time

UID = 10001
# Where something is installed already.
SPARE_MIB = 200
SYSTEMS = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
MACHINES = ("x86_64", "aarch64")
UNIT = "/etc/systemd/system/longshore-%s.service"
faults = []


def fault(check, say):
    faults.append({"check": check, "say": say})


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def ip_of(text):
    try:
        return ipaddress.ip_address(str(text).split("%", 1)[0])
    except ValueError:
        return None


def resolved(name):
    """The addresses of a name, as programs of this host see them. Empty: it has none."""
    try:
        return sorted({info[4][0].split("%", 1)[0] for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []


def system(request):
    release = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', read("/etc/os-release"), re.M))
    name, version = release.get("ID", "?"), release.get("VERSION_ID", "?")
    if version not in SYSTEMS.get(name, ()):
        fault("system", f"this is {name} {version}: use Debian 12 or 13, or Ubuntu 22.04 or 24.04")
    if platform.machine() not in MACHINES:
        fault("system", f"this is a {platform.machine()} machine: use amd64 or arm64")
    if read("/proc/1/comm").strip() != "systemd":
        fault("system", "the first process isn't systemd: use a machine that systemd starts")
    memory = re.search(r"^MemTotal:\s+(\d+) kB", read("/proc/meminfo"), re.M)
    mebibytes = int(memory.group(1)) // 1024 if memory else 0
    if mebibytes < request["memory_mib"]:
        fault("memory", f"there are {mebibytes} MiB of memory: give this machine at least {request['memory_mib']} MiB")
    try:
        owner = pwd.getpwuid(UID).pw_name
        if owner != "longshore":
            fault("user", f"uid {UID}, which Longshore's files belong to, is the user {owner} here: give that user another uid")
    except KeyError:
        pass


def address(request):
    own, mine = request["address"], [ip_of(text) for text in request["own_addresses"]]
    ip = ip_of(own)
    if ip is not None:
        if ip not in mine:
            fault("address", f"longshore_address is {own}, which this host doesn't have: use one of {', '.join(request['own_addresses'])}")
    else:
        found = resolved(own)
        if not found:
            fault("resolution", f"the name {own} (longshore_address) doesn't resolve here: mend DNS or /etc/hosts")
        elif not all(ip_of(text) in mine for text in found):
            fault("resolution", f"the name {own} (longshore_address) is {', '.join(found)} here, and this host has {', '.join(request['own_addresses'])}: mend DNS or /etc/hosts")
    for name, at in request["others"].items():
        if ip_of(at) is not None:
            continue
        found, theirs = resolved(at), request["addresses_of"][name]
        if not found:
            fault("resolution", f"the name {at} of {name} doesn't resolve here: mend DNS or /etc/hosts")
        elif theirs and not all(ip_of(text) in [ip_of(each) for each in theirs] for text in found):
            fault("resolution", f"the name {at} of {name} is {', '.join(found)} here, and that host has {', '.join(theirs)}: mend DNS or /etc/hosts")
    for text in request["virtual_addresses"]:
        virtual = ip_of(text.split("/", 1)[0])
        networks = [ipaddress.ip_network(network, strict=False) for network in request["own_networks"]]
        if virtual is not None and not request["virtual_interface"] and not any(virtual in network for network in networks):
            fault("virtual-address", f"the virtual address {virtual} is in no network of this balancer ({', '.join(request['own_networks'])}): choose one that is, or set longshore_virtual_interface")


def listeners():
    """(address, port, inode) of every TCP socket that listens."""
    for path, size in (("/proc/net/tcp", 4), ("/proc/net/tcp6", 16)):
        for line in read(path).splitlines()[1:]:
            field = line.split()
            if field[3] != "0A":
                continue
            host, port = field[1].split(":")
            words = struct.unpack(f">{size // 4}I", bytes.fromhex(host))
            yield ipaddress.ip_address(struct.pack(f"={size // 4}I", *words)), int(port, 16), field[9]


def user_of(inode):
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) == f"socket:[{inode}]":
                return read(f"/proc/{link.split('/')[2]}/comm").strip()
        except OSError:
            continue
    return "another program"


def ours(part):
    """The port's rightful user may run already."""
    unit = f"longshore-{part}"
    return os.path.exists(UNIT % part) and subprocess.run(
        ["systemctl", "is-active", "--quiet", unit], check=False, stderr=subprocess.DEVNULL).returncode == 0


def ports(request):
    open_now = list(listeners())
    for part, wanted in request["ports"].items():
        if ours(part):
            continue
        for what, port in wanted.items():
            for at, taken, inode in open_now:
                if taken == int(port):
                    fault("port", f"port {port} ({what} of {part}) is taken by {user_of(inode)} on {at}: stop that program, or set another port")
                    break


def existing(path):
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def space(request):
    for part, what, path, mebibytes in request["space"]:
        done = os.path.exists(UNIT % part) if part else bool(glob.glob(UNIT % "*"))
        room(what, path, SPARE_MIB if done else mebibytes)


def room(what, path, mebibytes):
    state = os.statvfs(existing(path))
    free = state.f_bavail * state.f_frsize // 1024 // 1024
    if free < mebibytes:
        fault("space", f"{path} ({what}) has {free} MiB free: make room, at least {mebibytes} MiB")
    if state.f_files and state.f_favail < 10000:
        fault("space", f"{path} ({what}) has {state.f_favail} inodes free: make room, at least 10,000")


def as_longshore(act):
    """Runs `act` in a child that is uid 10001, as the node in its container is. Its errno, or 0."""
    child = os.fork()
    if child == 0:
        code = 255
        try:
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)
            act()
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def mount_of(path):
    """(source, fstype, options) of the file system that is mounted exactly there."""
    found = None
    for line in read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if fields[4].encode().decode("unicode_escape") == path:
            found = (rest[1], rest[0], fields[5] + "," + rest[2])
    return found


def storage(request):
    path, kind = request["storage_path"], request["storage_kind"]
    mounted = mount_of(path)
    if kind == "mounted" and mounted is None:
        fault("storage", f"{path} is no mount point: mount the share there on every node, or set longshore_storage_kind to share or glusterfs")
        return
    if kind == "share":
        share_reachable(request["storage_share"])
    if kind == "glusterfs" and not os.path.exists("/dev/fuse"):
        fault("storage", "there is no /dev/fuse: load the kernel's fuse module, or use another longshore_storage_kind")
    if mounted is None:
        if os.path.isdir(path) and os.listdir(path):
            fault("storage", f"{path} isn't mounted yet and holds files, which the mount would hide: move them away")
        return
    if mounted[1] in ("nfs", "nfs4"):
        options = mounted[2].split(",")
        lacking = [want for want in ("hard", "lookupcache=none", "acregmax=0") if want not in options]
        # The kernel shows actimeo=0 as its four parts.
        if lacking:
            fault("storage", f"{path} is mounted without {','.join(lacking).replace('acregmax', 'actimeo')}: mount it with vers=4.2,hard,lookupcache=none,actimeo=0")
    if "ro" in mounted[2].split(","):
        fault("storage", f"{path} is mounted read-only: mount it read-write")
        return
    room("the storage", path, request["storage_mib"])
    writable(path)


def share_reachable(share):
    source, fstype = str(share.get("source") or ""), str(share.get("fstype") or "")
    if not fstype.startswith("nfs") or ":" not in source:
        return
    server = source.rsplit(":/", 1)[0].strip("[]")
    found = resolved(server)
    if not found:
        fault("storage", f"the share's server {server} doesn't resolve here: mend longshore_storage_share.source, DNS or /etc/hosts")
        return
    try:
        socket.create_connection((found[0], 2049), timeout=3).close()
    except OSError as error:
        fault("storage", f"the share's server {server} doesn't answer on port 2049 ({error.strerror or error}): start it, or let this host through its firewall")


def fresh(path):
    """Nothing lies there, and root may change whose it is, which a share may refuse."""
    if set(os.listdir(path)) - {"lost+found"}:
        return False
    state = os.stat(path)
    try:
        os.chown(path, state.st_uid, state.st_gid)
    except OSError:
        return False
    return True


def writable(path):
    """A file of uid 10001's is made, synced and removed again."""
    def attempt():
        handle, name = tempfile.mkstemp(prefix=".longshore-preflight-", dir=path)
        try:
            os.write(handle, b"preflight")
            os.fsync(handle)
        finally:
            os.close(handle)
            os.unlink(name)

    code = as_longshore(attempt)
    if code in (errno.EACCES, errno.EPERM) and fresh(path):
        # The role `storage` gives an empty one to Longshore's user.
        return
    if code in (errno.EACCES, errno.EPERM):
        state = os.stat(path)
        fault("storage", f"uid {UID} may not write to {path} (it belongs to {state.st_uid}:{state.st_gid}, mode {state.st_mode & 0o7777:04o}): chown {UID}:{UID} {path} on the share")
    elif code != 0:
        name = os.strerror(code) if code < 255 else "an unknown error"
        fault("storage", f"writing to {path} fails ({name}): mend the share or its mount")


def installed():
    """What an earlier run has put here: the version of each unit's image, and the site's name."""
    versions = {}
    for path in glob.glob(UNIT % "*"):
        # A word of its own: "/etc/longshore/node:ro" is a volume.
        image = re.search(r"(?:^|\s)longshore/[a-z]+:([A-Za-z0-9_.-]+)", read(path))
        if image:
            versions[os.path.basename(path)[len("longshore-"):-len(".service")]] = image.group(1)
    site = ""
    for name in glob.glob("/etc/longshore/node/*.json"):
        try:
            site = json.loads(read(name)).get("site") or site
        except (ValueError, AttributeError):
            continue
    return versions, site


def main():
    begun = time.time()
    request = json.loads(base64.b64decode(sys.argv[1]))
    system(request)
    address(request)
    ports(request)
    space(request)
    if request["storage_path"]:
        storage(request)
    versions, site = installed()
    if site and site != request["site"]:
        fault("site", f"this host is a node of the site {site}: take it out there first (playbook uninstall), or mend longshore_site")
    clock = {"sent": float(request["now"]), "read": begun, "took": time.time() - begun}
    json.dump({"faults": faults, "facts": {"versions": versions, "site": site}, "clock": clock}, sys.stdout)


if __name__ == "__main__":
    main()
