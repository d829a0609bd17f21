"""Faults that show only where what was seen of all hosts is laid side by side. Runs on the controller.

Reads JSON from standard input: {"hosts": {name: {"away", "why", "probe", "ended"}}, "clock_seconds", "for", "version",
"secrets", "secrets_dir"}; `probe` is what host_probe.py said, `ended` when that was here, by the controller's clock.
Writes a JSON list of {"host", "check", "say"}.
"""

import json
import os
import stat
import statistics
import sys

# The playbook upgrade brings nodes to another version; the playbook site all else, which may lag behind them.
PARTS = ("node",)


def reachable(document, faults):
    for name, host in document["hosts"].items():
        if host["away"]:
            why = " ".join(str(host["why"]).split()) or "no answer"
            faults.append({"host": name, "check": "unreachable", "say": f"it can't be reached as root over SSH ({why}): start it, or mend ansible_host, ansible_user, its SSH key or sudo"})


def clocks(document, faults):
    """A host's clock minus the controller's lies between what was read and that less the time the answer took."""
    ranges = {}
    for name, host in document["hosts"].items():
        clock = (host["probe"] or {}).get("clock")
        if clock:
            seems = clock["read"] - clock["sent"]
            ranges[name] = (seems - max(0.0, float(host["ended"]) - clock["sent"] - clock["took"]), seems)
    if not ranges:
        return
    bound = document["clock_seconds"]
    middle = statistics.median_low([(low + high) / 2 for low, high in ranges.values()])
    for name, (low, high) in ranges.items():
        if low - middle > bound or middle - high > bound:
            off = (low + high) / 2 - middle
            side = "ahead of" if off > 0 else "behind"
            faults.append({"host": name, "check": "clock", "say": f"its clock is {abs(off):.0f} s {side} the other hosts': set it, and install an NTP client (apt install chrony)"})
    if max(high for _, high in ranges.values()) < -bound:
        faults.append({"host": "", "check": "clock", "say": f"this controller's clock is {-middle:.0f} s ahead of the hosts': set it, or certificates made here aren't valid there yet"})


def versions(document, faults):
    running = {}
    for name, host in document["hosts"].items():
        for part, version in ((host["probe"] or {}).get("facts") or {}).get("versions", {}).items():
            if part in PARTS:
                running.setdefault(part, {})[name] = version
    if document["for"] != "site":
        return
    for part, by_host in sorted(running.items()):
        different = sorted(set(by_host.values()))
        if len(different) > 1:
            seen = ", ".join(f"{name} {version}" for name, version in sorted(by_host.items()))
            faults.append({"host": "", "check": "mixed-versions", "say": f"{part} has several versions ({seen}): an upgrade was interrupted, so run the playbook upgrade with the version you want, or rollback"})
        elif different[0] != document["version"]:
            faults.append({"host": "", "check": "mixed-versions", "say": f"the site runs {different[0]} and longshore_version is {document['version']}: run the playbook upgrade, which drains one node after the other, or set longshore_version to {different[0]}"})
            break


def secrets(document, faults):
    installed = [name for name, host in document["hosts"].items() if "node" in ((host["probe"] or {}).get("facts") or {}).get("versions", {})]
    directory = document["secrets_dir"]
    if installed:
        for secret in document["secrets"]:
            if not os.path.isfile(os.path.join(directory, secret)):
                faults.append({"host": "", "check": "secret", "say": f"{directory}/{secret} is missing, and {installed[0]} is installed already: copy the directory from the controller that installed the site, since a new secret doesn't open what was sealed with the old one"})
    if not os.path.isdir(directory):
        return
    loose = [name for name in [""] + sorted(os.listdir(directory)) if not name.endswith(".pem") and os.stat(os.path.join(directory, name)).st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if loose:
        faults.append({"host": "", "check": "secret", "say": f"{os.path.join(directory, loose[0])} is open to others on this controller: chmod -R go= {directory}"})
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            faults.append({"host": "", "check": "secret", "say": f"{path} is empty: bring it back from a backup, or remove it where the site isn't installed yet"})


def main():
    document = json.load(sys.stdin)
    faults = []
    reachable(document, faults)
    for name, host in document["hosts"].items():
        # Ansible's templates make an empty text of nothing.
        if host["probe"]:
            faults += [{"host": name, **fault} for fault in host["probe"]["faults"]]
        elif not host["away"]:
            faults.append({"host": name, "check": "probe", "say": f"it couldn't be looked at ({' '.join(str(host['why']).split())[:300]}): use a system that this release supports"})
    clocks(document, faults)
    versions(document, faults)
    secrets(document, faults)
    json.dump(faults, sys.stdout)


if __name__ == "__main__":
    main()
