package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// A start is work, not waiting: on a crowded machine it takes half a minute.
const startTimeout = 2 * time.Minute

func serve(directory string, port int, extra []string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	directory, err := filepath.Abs(directory)
	if err != nil {
		return err
	}
	identity, err := openIdentity(filepath.Join(directory, "keys"))
	if err != nil {
		return err
	}
	// A restart on the port of before is what clients expect of a server that comes back.
	if port == 0 {
		if port, err = rememberedPort(filepath.Join(directory, "port")); err != nil {
			return err
		}
	}
	store, err := startEtcd(filepath.Join(directory, "etcd"))
	if err != nil {
		return err
	}
	defer store.Close()

	ended := make(chan error, 1)
	command := app.NewAPIServerCommand()
	command.SetArgs(append(apiServerFlags(store.Config().ListenClientUrls[0].String(), port, identity), extra...))
	go func() { ended <- command.Execute() }()

	config := filepath.Join(directory, "kubeconfig")
	server := fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := waitReady(server, identity, ended); err != nil {
		return err
	}
	if err := identity.writeKubeconfig(config, server); err != nil {
		return err
	}
	fmt.Println("ready", config)
	return <-ended
}

func startEtcd(directory string) (*embed.Etcd, error) {
	config := embed.NewConfig()
	config.Dir = directory
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true
	// Without it every request is logged as slow.
	config.WarningUnaryRequestDuration = time.Minute
	client, err := freeURL()
	if err != nil {
		return nil, err
	}
	peer, err := freeURL()
	if err != nil {
		return nil, err
	}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.Name + "=" + peer.String()
	store, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-store.Server.ReadyNotify():
		return store, nil
	case err := <-store.Err():
		return nil, fmt.Errorf("etcd: %w", err)
	case <-time.After(startTimeout):
		store.Close()
		return nil, fmt.Errorf("etcd is not ready after %s", startTimeout)
	}
}

func apiServerFlags(etcd string, port int, identity *identity) []string {
	return []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + identity.path("server.crt"),
		"--tls-private-key-file=" + identity.path("server.key"),
		"--client-ca-file=" + identity.path("ca.crt"),
		"--token-auth-file=" + identity.path("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + identity.path("accounts.key"),
		"--service-account-signing-key-file=" + identity.path("accounts.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		// The server would be its own Service's endpoint, and that may not be a loopback address.
		"--endpoint-reconciler-type=none",
		// No controller makes the account `default`, without which a Pod is refused.
		"--disable-admission-plugins=ServiceAccount",
		"--allow-privileged=true",
		"--profiling=false",
		"--shutdown-delay-duration=0s",
	}
}

func waitReady(server string, identity *identity, ended <-chan error) error {
	client, err := identity.adminClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", nil)
		if err != nil {
			return err
		}
		if response, err := client.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("kube-apiserver ended before it was ready: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver is not ready after %s", startTimeout)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func rememberedPort(path string) (int, error) {
	if text, err := os.ReadFile(path); err == nil {
		return strconv.Atoi(string(text))
	}
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	return port, os.WriteFile(path, []byte(strconv.Itoa(port)), 0o600)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func freeURL() (url.URL, error) {
	port, err := freePort()
	return url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, err
}
