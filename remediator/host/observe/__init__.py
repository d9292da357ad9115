"""The program that observes, in the order in which its files are joined.

LATER holds what is compiled only on a host that needs it (see remediator.host.join).
"""

PARTS = (
    "common/serve.py",
    "observe/patterns.py",
    "observe/names.py",
    "observe/reading.py",
    "observe/words.py",
    "observe/command.py",
    "observe/accounts.py",
    "observe/mask.py",
    "observe/files.py",
    "observe/units.py",
    "observe/processes.py",
    "observe/references.py",
    "observe/settings.py",
    "observe/state.py",
    "observe/daemon_answers.py",
    "observe/docker_api.py",
    "observe/docker.py",
    "observe/containerd.py",
    "observe/version_sort.py",
    "observe/audit.py",
    "observe/machine.py",
    "observe/login_environment.py",
    "observe/later.py",
    "observe/main.py",
)

LATER = {
    "docker_tls": (
        "observe/public_keys.py",
        "observe/kernel_sockets.py",
        "observe/handshake.py",
        "observe/docker_listeners.py",
    ),
    "docker_clients": ("observe/docker_clients.py",),
    "kubernetes": (
        "observe/yaml_block.py",
        "observe/manifests.py",
        "observe/rancher.py",
        "observe/kubernetes.py",
        "observe/etcd.py",
        "observe/pki.py",
        "observe/cluster.py",
    ),
}
