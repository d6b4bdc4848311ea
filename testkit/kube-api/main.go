// kube-api runs etcd and kube-apiserver in one process, for tests that need the real Kubernetes API and no workloads.
//
//	kube-api --dir DIRECTORY [--api-port PORT] [--attached] [-- FLAG ...]
//
// The directory receives the data, the keys and `kubeconfig`, whose user is an administrator. A directory that is used again is the
// same server restarted: objects, tokens and certificates hold. What follows `--` goes to kube-apiserver as it is.
// It says `ready KUBECONFIG` on standard output when the API answers. SIGTERM ends it; with --attached the end of standard input
// does too, so that it never outlives a test that was killed.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"
)

func main() {
	directory := flag.String("dir", "", "where data, keys and the kubeconfig go")
	port := flag.Int("api-port", 0, "the port of the API server; a free one by default")
	attached := flag.Bool("attached", false, "end when standard input ends")
	flag.Parse()
	if *attached {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		}()
	}
	if *directory == "" {
		fail(fmt.Errorf("--dir is required"))
	}
	if err := serve(*directory, *port, flag.Args()); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "kube-api:", err)
	os.Exit(1)
}
