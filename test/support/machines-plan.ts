/** Decisions of test/support/machines.ts: pure. */

/** Releases of Debian that a machine may be of. */
export type Suite = "bookworm" | "trixie";

export const machineImage = (suite: Suite): string => `longshore-lab/machine:${suite}`;

/** Units that make no sense in a container, would wait for hardware, or would fetch packages behind a test's back. */
const MASKED = [
  "getty.target",
  "console-getty.service",
  "systemd-logind.service",
  "systemd-firstboot.service",
  "systemd-resolved.service",
  "systemd-networkd-wait-online.service",
  "systemd-timesyncd.service",
  "apt-daily.timer",
  "apt-daily-upgrade.timer",
  "e2scrub_all.timer",
  "fstrim.timer",
  "dpkg-db-backup.timer",
  "systemd-udevd.service",
  "systemd-udev-trigger.service",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "sys-fs-fuse-connections.mount",
  "dev-hugepages.mount",
  "dev-mqueue.mount",
];

/** What a sysadmin finds on a fresh server, and `socat` for the lab's own forwards. */
const INSTALLED = [
  "systemd",
  "systemd-sysv",
  "dbus",
  "openssh-server",
  "python3",
  "python3-apt",
  "sudo",
  "iproute2",
  "procps",
  "ca-certificates",
  "iputils-ping",
  "curl",
  "socat",
];

/** Fetched but not installed: the playbooks' apt then takes no time of the network's. Anything else still comes over it. */
const FETCHED = ["docker.io", "iptables", "keepalived", "nftables", "chrony"];

/**
 * Where a version 1 host mounts cpu and cpuacct apart, systemd, which wants them together, leaves them out; an engine in
 * the machine needs every controller.
 */
const CGROUPS = `#!/bin/sh
[ "$(stat -f -c %T /sys/fs/cgroup)" = tmpfs ] || exit 0
mount -o remount,rw /sys/fs/cgroup
while IFS=: read -r _ controllers _; do
  case $controllers in "" | name=*) continue ;; esac
  at=/sys/fs/cgroup/$controllers
  mountpoint -q "$at" && continue
  [ -L "$at" ] && rm "$at"
  mkdir -p "$at" && mount -t cgroup -o "$controllers" cgroup "$at"
done </proc/self/cgroup
mount -o remount,ro /sys/fs/cgroup
`;

const unit = (sections: Readonly<Record<string, readonly string[]>>) =>
  Object.entries(sections)
    .map(([name, lines]) => `[${name}]\n${lines.join("\n")}\n`)
    .join("\n");

const UNITS = {
  // Each machine has host keys of its own, made when it boots first.
  "lab-host-key.service": unit({
    Unit: ["Before=ssh.service", "ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key"],
    Service: ["Type=oneshot", "ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"],
    Install: ["WantedBy=multi-user.target"],
  }),
  "lab-cgroups.service": unit({
    Unit: ["DefaultDependencies=no", "Before=sysinit.target"],
    Service: ["Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/sh /usr/local/sbin/lab-cgroups"],
    Install: ["WantedBy=sysinit.target"],
  }),
};

/** The build context of a machine's image, as text by file name. */
export function machineContext(base: string): Readonly<Record<string, string>> {
  const names = Object.keys(UNITS);
  const lines = [
    `FROM ${base}`,
    "ENV container=docker",
    `RUN apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${INSTALLED.join(" ")} \\
 && apt-get clean \\
 && apt-get install -y -qq --no-install-recommends --download-only ${FETCHED.join(" ")} \\
 && rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/locale/* \\
 && systemctl mask ${MASKED.join(" ")} \\
 && systemctl set-default multi-user.target \\
 && rm -f /etc/machine-id /etc/ssh/ssh_host_* && touch /etc/machine-id \\
 && install -d -m 700 /root/.ssh`,
    "COPY lab-cgroups /usr/local/sbin/",
    `COPY ${names.join(" ")} /etc/systemd/system/`,
    `RUN systemctl enable ssh.service ${names.join(" ")}`,
    "STOPSIGNAL SIGRTMIN+3",
    'CMD ["/lib/systemd/systemd"]',
  ];
  return { Dockerfile: `${lines.join("\n")}\n`, "lab-cgroups": CGROUPS, ...UNITS };
}

/** What a controller needs besides a checkout: Ansible as the release has it, and Docker to build the images with. */
const CONTROLLER = ["ansible", "openssh-client", "openssl", "docker-cli", "docker-compose"];

export const controllerImage = (suite: Suite): string => `longshore-lab/controller:${suite}`;

/** The build context of a controller's image, as text by file name. */
export function controllerContext(base: string): Readonly<Record<string, string>> {
  const install = `apt-get install -y -qq --no-install-recommends ${CONTROLLER.join(" ")}`;
  return {
    Dockerfile: `FROM ${base}\nRUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive ${install} && apt-get clean\n`,
  };
}

export interface HostFacts {
  /** `CapBnd` of /proc/self/status. */
  readonly capabilityBound: bigint;
  /** As `docker info -f {{.CgroupVersion}}` says. */
  readonly cgroupVersion: string;
  /** Of these, those that exist. */
  readonly devices: readonly string[];
}

/** The devices that a machine gets where the host has them. */
export const WANTED_DEVICES = ["/dev/fuse", "/dev/net/tun"];

const CAP_SYS_RESOURCE = 1n << 24n;

/**
 * What makes a container as much of a machine as can be. Not `--privileged`: where the host's own bound lacks
 * CAP_SYS_RESOURCE, runc would refuse to start it.
 */
export function machineFlags({ capabilityBound, cgroupVersion, devices }: HostFacts): string[] {
  const options = ["seccomp", "apparmor", "systempaths"].flatMap((each) => ["--security-opt", `${each}=unconfined`]);
  return [
    ...["--cap-add=ALL", ...options, "--cgroupns=private", "--device-cgroup-rule=a *:* rwm"],
    ...["--tmpfs", "/run", "--tmpfs", "/run/lock"],
    ...((capabilityBound & CAP_SYS_RESOURCE) === 0n ? ["--cap-drop=SYS_RESOURCE"] : []),
    ...(cgroupVersion === "1" ? ["--tmpfs", "/sys/fs/cgroup"] : []),
    ...devices.flatMap((device) => ["--device", device]),
    // An engine in the machine keeps its layers on a file system that overlay2 can stand on.
    ...["--volume", "/var/lib/docker"],
  ];
}

/** What Ansible did on one host. */
export interface HostRecap {
  readonly ok: number;
  readonly changed: number;
  readonly unreachable: number;
  readonly failed: number;
  readonly skipped: number;
  readonly rescued: number;
  readonly ignored: number;
}

const COUNTS = ["ok", "changed", "unreachable", "failed", "skipped", "rescued", "ignored"] as const;

/** From the end of what ansible-playbook prints, by host. Empty where it never got to a play. */
export function parseRecap(output: string): ReadonlyMap<string, HostRecap> {
  const [, recap = ""] = output.split(/^PLAY RECAP \*+$/m);
  const hosts = new Map<string, HostRecap>();
  for (const line of recap.split("\n")) {
    const match = /^(\S+)\s+:\s+(ok=\d+.*)$/.exec(line.trim());
    if (match === null) continue;
    const [, host = "", counts = ""] = match;
    const count = (name: string) => Number(new RegExp(`\\b${name}=(\\d+)`).exec(counts)?.[1] ?? 0);
    hosts.set(host, Object.fromEntries(COUNTS.map((name) => [name, count(name)])) as unknown as HostRecap);
  }
  return hosts;
}

/** The tasks that changed something, as `host: task`: what to look at where a second run isn't `changed=0`. */
export function changedTasks(output: string): string[] {
  const found: string[] = [];
  let task = "";
  for (const line of output.split("\n")) {
    task = /^(?:TASK|RUNNING HANDLER) \[(.*)\] \*+$/.exec(line)?.[1] ?? task;
    const host = /^changed: \[([^\]]+)\]/.exec(line)?.[1];
    if (host !== undefined) found.push(`${host}: ${task}`);
  }
  return found;
}

/** What ansible-playbook said, as it was meant: its YAML folds long lines, and doubles the apostrophes of what it quotes. */
export function told({ stdout, stderr }: { readonly stdout: string; readonly stderr: string }): string {
  return `${stdout}${stderr}`.replace(/\s+/g, " ").replaceAll("''", "'");
}

/** A machine as an inventory names it. */
export interface InventoryHost {
  readonly name: string;
  /** On the machines' own network. */
  readonly address: string;
  /** Of 127.0.0.1, where its sshd is published. */
  readonly sshPort: number;
}

export interface InventoryOptions {
  /** Group to names of machines. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** For all hosts. */
  readonly vars?: Readonly<Record<string, unknown>>;
  /** By machine. */
  readonly hostVars?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** An inventory as JSON, which is YAML. `ssh` says how this machine logs in. Throws where a group names no machine. */
export function renderInventory(
  hosts: readonly InventoryHost[],
  options: InventoryOptions,
  ssh: { readonly keyFile: string; readonly knownHostsFile: string },
): string {
  const used = new Set(Object.values(options.groups).flat());
  const missing = [...used].filter((name) => !hosts.some((host) => host.name === name));
  if (missing.length > 0) throw new Error(`the lab has no machine ${missing.join(", ")}`);
  const entries = hosts
    .filter(({ name }) => used.has(name))
    .map(({ name, address, sshPort }) => [
      name,
      { ansible_host: "127.0.0.1", ansible_port: sshPort, longshore_address: address, ...options.hostVars?.[name] },
    ]);
  const inventory = {
    all: {
      hosts: Object.fromEntries(entries),
      vars: {
        ansible_user: "root",
        ansible_ssh_private_key_file: ssh.keyFile,
        ansible_ssh_common_args: `-o UserKnownHostsFile=${ssh.knownHostsFile} -o IdentitiesOnly=yes`,
        ...options.vars,
      },
      children: Object.fromEntries(
        Object.entries(options.groups).map(([group, names]) => [
          group,
          { hosts: Object.fromEntries(names.map((name) => [name, {}])) },
        ]),
      ),
    },
  };
  return `${JSON.stringify(inventory, null, 2)}\n`;
}
