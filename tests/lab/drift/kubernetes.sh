# Makes a kubeadm node that needs every control of kube_files and kube_etcd. The numeric owner is nobody's account. Run as root on the host: sh -eu.
for manifest in kube-apiserver kube-controller-manager kube-scheduler etcd; do
  chown 4711:4711 "/etc/kubernetes/manifests/$manifest.yaml"
  chmod 0644 "/etc/kubernetes/manifests/$manifest.yaml"
done
for kubeconfig in admin super-admin scheduler controller-manager kubelet; do
  chown 4711:4711 "/etc/kubernetes/$kubeconfig.conf"
  chmod 0644 "/etc/kubernetes/$kubeconfig.conf"
done
chown 4711:4711 /etc/kubernetes/pki/ca.crt /etc/kubernetes/pki/etcd/server.key
chmod 0664 /etc/kubernetes/pki/ca.crt /etc/kubernetes/pki/apiserver.crt
chmod 0640 /etc/kubernetes/pki/ca.key /etc/kubernetes/pki/sa.key
cp -p /etc/kubernetes/pki/ca.key /etc/kubernetes/pki/ca.key.bak
chmod 0644 /etc/kubernetes/pki/ca.key.bak
chmod 0644 /etc/cni/net.d/*
chown 4711:4711 /etc/cni/net.d/*
chown 4711:4711 /var/lib/kubelet/config.yaml
chmod 0644 /var/lib/kubelet/config.yaml
unit=$(systemctl show -p FragmentPath --value kubelet.service)
chmod 0644 "$unit"
chown 4711:4711 "$unit"
chmod 0755 /var/lib/etcd
