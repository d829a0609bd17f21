"""Faults of an inventory, by itself: no host is asked.

Reads {"hosts": {name: description}, "groups": {group: [names]}} as JSON from standard input, and writes a JSON list of
{"host", "check", "say"}. `say` is one sentence that says what to change; `host` is empty where the fault is the site's.
"""

import collections
import ipaddress
import json
import re
import sys

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z")
MODES = ("active-active", "active-passive")
IMAGE_SOURCES = ("registry", "build", "bundle", "present")
STORAGE_KINDS = ("mounted", "share", "glusterfs")
# What all hosts must agree on: a value in host_vars or in one group's vars only makes two sites of one.
SHARED = ("site", "mode", "version", "storage_kind", "storage_path", "sftp_port", "admin_port", "agent_port")
NFS_NEEDS = ("hard", "lookupcache=none", "actimeo=0")
# Their renames, exclusive creates or syncs aren't what a commit relies on.
UNSAFE_FILE_SYSTEMS = ("cifs", "smb3", "fuse.sshfs", "fuse.s3fs", "vboxsf", "9p")


def ip_of(text):
    try:
        return ipaddress.ip_address(str(text))
    except ValueError:
        return None


def listed(names):
    names = [str(name) for name in names]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


class Inventory:
    def __init__(self, document):
        self.hosts = document["hosts"]
        self.groups = document["groups"]
        self.faults = []

    def group(self, name):
        return self.groups.get("longshore_" + name, [])

    def fault(self, check, say, host=""):
        self.faults.append({"host": host, "check": check, "say": say})

    def same_values(self, names, key):
        """The hosts that share a value, by value."""
        found = collections.defaultdict(list)
        for name in names:
            value = self.hosts[name].get(key)
            if value not in (None, ""):
                found[str(value)].append(name)
        return {value: having for value, having in found.items() if len(having) > 1}

    def check(self):
        self.sizes()
        self.shared()
        for name in self.hosts:
            self.address(name)
        for value, names in self.same_values(self.hosts, "address").items():
            self.fault("address", f"longshore_address is {value} on {listed(names)}: give each host its own address")
        self.nodes()
        self.passive()
        self.virtual()
        self.storage()
        self.images()
        self.ports()
        return self.faults

    def sizes(self):
        etcd, nodes = self.group("etcd"), self.group("nodes")
        if len(etcd) not in (3, 5):
            why = "an even number survives no more losses than one less" if len(etcd) % 2 == 0 else "that is what is supported"
            self.fault("etcd-members", f"longshore_etcd has {len(etcd)} hosts: make it 3 or 5 ({why})")
        if len(nodes) < 2:
            self.fault("too-few", f"longshore_nodes has {len(nodes)} hosts: a site wants at least 2, so that one may fail")
        if not self.group("balancers"):
            self.fault("too-few", "longshore_balancers is empty: name at least one host there, better two")

    def shared(self):
        for key in SHARED:
            values = collections.defaultdict(list)
            for name, host in self.hosts.items():
                values[str(host.get(key))].append(name)
            if len(values) > 1:
                seen = "; ".join(f"{value} on {listed(names)}" for value, names in sorted(values.items()))
                check = "mixed-versions" if key == "version" else "mixed-settings"
                self.fault(check, f"longshore_{key} isn't the same on all hosts ({seen}): set it once, in group_vars/all")
        first = next(iter(self.hosts.values()), {})
        if first.get("mode") not in MODES:
            self.fault("mode", f"longshore_mode is {first.get('mode')}: set it to {' or '.join(MODES)}")
        if not NAME.match(str(first.get("site") or "")):
            self.fault("site", f"longshore_site is \"{first.get('site')}\": use 1 to 63 lower-case letters, digits and hyphens")
        if not first.get("version"):
            self.fault("version", "longshore_version isn't set: set it in group_vars/all to the version of the images")

    def address(self, name):
        address = str(self.hosts[name].get("address") or "")
        bare = address.strip("[]")
        ip = ip_of(bare)
        if ip is None and not HOST_NAME.match(address):
            self.fault("address", f"longshore_address is \"{address}\": use a host name, an IPv4 or an IPv6 address", name)
        elif address != bare:
            self.fault("address", f"longshore_address is {address}: write the IPv6 address without brackets", name)
        elif ip is not None and (ip.is_loopback or ip.is_unspecified or ip.is_multicast):
            self.fault("address", f"longshore_address is {address}, which no other host can reach: use the host's own address", name)
        elif address == "localhost":
            self.fault("address", "longshore_address is localhost, which no other host can reach: use the host's own address", name)

    def nodes(self):
        nodes = self.group("nodes")
        for name in nodes:
            slot = self.hosts[name].get("slot")
            if slot in (None, ""):
                self.fault("slot", "longshore_node_slot isn't set: give each node a number of its own from 1 to 255", name)
            elif not re.match(r"\d{1,3}\Z", str(slot)) or not 1 <= int(slot) <= 255:
                self.fault("slot", f"longshore_node_slot is {slot}: use a whole number from 1 to 255", name)
            node = str(self.hosts[name].get("node_name") or "")
            if not NAME.match(node):
                self.fault(
                    "node-name",
                    f"longshore_node_name is \"{node}\": use 1 to 63 lower-case letters, digits and hyphens "
                    "(its default is the inventory's name)",
                    name,
                )
        for value, names in self.same_values(nodes, "slot").items():
            self.fault("slot", f"longshore_node_slot is {value} on {listed(names)}: give each node a number of its own")
        for value, names in self.same_values(nodes, "node_name").items():
            self.fault("node-name", f"longshore_node_name is {value} on {listed(names)}: give each node a name of its own")

    def passive(self):
        nodes, etcd = self.group("nodes"), self.group("etcd")
        first = next(iter(self.hosts.values()), {})
        order = [str(name) for name in first.get("active_order") or []]
        known = [str(self.hosts[name].get("node_name")) for name in nodes]
        if first.get("mode") != "active-passive":
            return
        if len(nodes) == 2 and not [name for name in etcd if name not in nodes]:
            self.fault(
                "witness",
                "longshore_etcd has no host besides the two nodes: add a third machine there as witness, since two "
                "machines can't tell a dead peer from a cut cable",
            )
        for name in order:
            # By the node's own name or the inventory's.
            if name not in known and name not in nodes:
                self.fault("active-order", f"longshore_active_order names {name}, which is no node: use {listed(known)}")
        if len(set(order)) < len(order):
            self.fault("active-order", "longshore_active_order names a node twice: name each one once")
        if not order:
            self.fault("active-order", f"longshore_active_order is empty: list the nodes in the order of promotion, such as {listed(known)}")

    def virtual(self):
        first = next(iter(self.hosts.values()), {})
        seen = set()
        for text in first.get("virtual_addresses") or []:
            bare = str(text).split("/", 1)[0]
            ip = ip_of(bare)
            if ip is None:
                self.fault("virtual-address", f"longshore_virtual_addresses has \"{text}\": use IP addresses")
                continue
            if ip in seen:
                self.fault("virtual-address", f"longshore_virtual_addresses has {bare} twice: name it once")
            seen.add(ip)
            for name, host in self.hosts.items():
                if ip_of(host.get("address")) == ip:
                    self.fault("virtual-address", f"the virtual address {bare} is {name}'s own longshore_address: choose one that no host has")
        if seen and len(self.group("balancers")) < 2:
            self.fault("virtual-address", "longshore_virtual_addresses is set, with one balancer to hold them: add a second host to longshore_balancers, or empty the list")

    def storage(self):
        first = next(iter(self.hosts.values()), {})
        kind = first.get("storage_kind")
        share = first.get("storage_share") or {}
        if kind not in STORAGE_KINDS:
            self.fault("storage", f"longshore_storage_kind is {kind}: set it to {', '.join(STORAGE_KINDS)}")
        if kind == "share":
            if not share.get("source") or not share.get("fstype"):
                self.fault("storage", "longshore_storage_share lacks source or fstype: set both, such as \"nas:/longshore\" and nfs4")
            fstype, options = str(share.get("fstype")), str(share.get("options") or "")
            given = [option.strip() for option in options.split(",") if option.strip()]
            if fstype in UNSAFE_FILE_SYSTEMS:
                self.fault("storage", f"longshore_storage_share.fstype is {fstype}, on which a commit isn't safe: use nfs4, ceph or glusterfs")
            if fstype.startswith("nfs") and given:
                lacking = [option for option in NFS_NEEDS if option not in given]
                if "soft" in given or lacking:
                    self.fault("storage", f"longshore_storage_share.options is \"{options}\": it must have {','.join(NFS_NEEDS)}, and not soft")
                if any(re.match(r"(nfs)?vers=(2|3|4|4\.0)\Z", option) for option in given):
                    self.fault("storage", f"longshore_storage_share.options is \"{options}\": NFS must be 4.1 or later, such as vers=4.2")
        if kind == "glusterfs":
            bricks = first.get("storage_bricks") or []
            for brick in bricks:
                if brick not in self.hosts:
                    self.fault("storage", f"longshore_storage_bricks names {brick}, which isn't in the inventory: name hosts of it")
            if len(bricks) != 3:
                self.fault("storage", f"longshore_storage_bricks has {len(bricks)} hosts: name 3 (the last one of them may be an arbiter), since a volume of two stops or splits when one is lost")

    def images(self):
        first = next(iter(self.hosts.values()), {})
        source = first.get("image_source")
        if source not in IMAGE_SOURCES:
            self.fault("images", f"longshore_image_source is {source}: set it to {', '.join(IMAGE_SOURCES)}")
        if source == "bundle" and not first.get("bundle_there"):
            self.fault("images", f"longshore_bundle_file is \"{first.get('bundle_file') or ''}\", and there is no such file on the controller: make it with `longshore bundle`, or name its place")
        if source == "registry" and not first.get("image_registry"):
            self.fault("images", "longshore_image_registry isn't set: name the registry that has the images, or choose another longshore_image_source")

    def ports(self):
        """Two parts on one host must not want one port."""
        for name, host in self.hosts.items():
            wanted = collections.defaultdict(list)
            for part, ports in (host.get("ports") or {}).items():
                for what, port in ports.items():
                    if not re.match(r"\d{1,5}\Z", str(port)) or not 1 <= int(port) <= 65535:
                        self.fault("port", f"{what} is {port}: use a port from 1 to 65535", name)
                    wanted[str(port)].append(f"{what} of {part}")
            for port, users in wanted.items():
                if len(users) > 1:
                    self.fault("port", f"port {port} is wanted by {listed(users)}: set one of them to another port", name)


def main():
    json.dump(Inventory(json.load(sys.stdin)).check(), sys.stdout)


if __name__ == "__main__":
    main()
