"""The program that observes, in the order in which its files are joined.

LATER holds what is compiled only on a host that needs it (see remediator.host.join).
"""

PARTS = (
    "common/digest.py",
    "common/writing.py",
    "common/failure.py",
    "common/serve.py",
    "common/patterns.py",
    "common/names.py",
    "common/reading.py",
    "observe/words.py",
    "observe/command.py",
    "observe/accounts.py",
    "common/mask.py",
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
    "observe/own_records.py",
    "observe/login_environment.py",
    "common/later.py",
    "observe/later.py",
    "observe/main.py",
)

LATER = {
    "transactions": ("observe/own_transactions.py",),
    "docker_tls": (
        "common/private_keys.py",
        "observe/public_keys.py",
        "common/kernel_sockets.py",
        "common/handshake.py",
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
