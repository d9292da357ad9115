// The etcd server that kubeadm's static pod runs: Debian's own is too old for the flags that kubeadm 1.34 gives it.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
