# Makes a Docker host that needs every control of docker_files, with TLS material, registry certificates, drop-ins and
# a daemon.json of its own. The numeric owner is nobody's account. Run as root on the host: sh -eu.
install -d -m 0775 -o 4711 -g 4711 /etc/docker
install -d -m 0700 /etc/docker/tls
install -d -m 0755 /etc/docker/certs.d /etc/docker/certs.d/registry.lab:5000
cd /etc/docker/tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=lab-ca -keyout ca-key.pem -out ca.pem 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=lab-host -keyout key.pem -out host.csr 2>/dev/null
openssl x509 -req -in host.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 -out cert.pem 2>/dev/null
rm -f host.csr ca-key.pem ca.srl
cp ca.pem /etc/docker/certs.d/registry.lab:5000/ca.crt
cp cert.pem /etc/docker/certs.d/registry.lab:5000/client.cert
cp key.pem /etc/docker/certs.d/registry.lab:5000/client.key
chown 4711:4711 ca.pem cert.pem key.pem /etc/docker/certs.d/registry.lab:5000/*
chmod 0666 ca.pem cert.pem
chmod 0640 key.pem
chmod 0664 /etc/docker/certs.d/registry.lab:5000/*

cat >/etc/docker/daemon.json <<'EOF'
{
  "tlsverify": true,
  "tlscacert": "/etc/docker/tls/ca.pem",
  "tlscert": "/etc/docker/tls/cert.pem",
  "tlskey": "/etc/docker/tls/key.pem",
  "proxies": {"http-proxy": "http://builder:geheim-4711@proxy.lab:3128"},
  "log-driver": "json-file"
}
EOF
# Docker 20.10 does not know "proxies"; it would not start with it.
if dpkg --compare-versions "$(dpkg-query -W -f '${Version}' docker.io)" lt 23; then
  sed -i '/"proxies"/d' /etc/docker/daemon.json
fi
install -d /etc/systemd/system/docker.service.d
printf '[Service]\nEnvironment=BUILD_TOKEN=geheim-0815\n' >/etc/systemd/system/docker.service.d/10-lab.conf
systemctl daemon-reload
systemctl restart docker.service

chown 4711:4711 /etc/docker/daemon.json /etc/default/docker /etc/systemd/system/docker.service.d/10-lab.conf
chmod 0666 /etc/docker/daemon.json /etc/default/docker /etc/systemd/system/docker.service.d/10-lab.conf
unit=$(systemctl show -p FragmentPath --value docker.service)
socket=$(systemctl show -p FragmentPath --value docker.socket)
chown 4711:4711 "$unit"
# A group that has members: this fix takes their access, so it needs consent.
chown root:ops "$socket"
chmod 0664 "$unit" "$socket"
chmod 0666 /run/docker.sock
chown root:ops /run/containerd/containerd.sock
chmod 0666 /run/containerd/containerd.sock
