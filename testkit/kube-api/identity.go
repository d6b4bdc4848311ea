package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// identity is the authority of one server and what it has issued: files in one directory, kept over restarts.
type identity struct {
	directory string
}

func (i *identity) path(name string) string {
	return filepath.Join(i.directory, name)
}

// openIdentity makes what is needed in an empty directory, and takes what is there in another.
func openIdentity(directory string) (*identity, error) {
	made := &identity{directory}
	// Written last, so its presence means that all the rest is there.
	if _, err := os.Stat(made.path("tokens.csv")); err == nil {
		return made, nil
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	if err := made.issueAll(); err != nil {
		return nil, err
	}
	token := make([]byte, 16)
	if _, err := rand.Read(token); err != nil {
		return nil, err
	}
	lines := fmt.Sprintf("%x,admin,admin,\"system:masters\"\nrestricted,restricted,restricted\n", token)
	return made, made.write("tokens.csv", []byte(lines))
}

func (i *identity) issueAll() error {
	caKey, err := i.newKey("ca.key")
	if err != nil {
		return err
	}
	ca := template("chancery tests")
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	if err := i.certify("ca.crt", ca, ca, caKey, caKey); err != nil {
		return err
	}
	serverKey, err := i.newKey("server.key")
	if err != nil {
		return err
	}
	server := template("kube-apiserver")
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	server.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if err := i.certify("server.crt", server, ca, serverKey, caKey); err != nil {
		return err
	}
	adminKey, err := i.newKey("admin.key")
	if err != nil {
		return err
	}
	admin := template("admin")
	admin.Subject.Organization = []string{"system:masters"}
	admin.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if err := i.certify("admin.crt", admin, ca, adminKey, caKey); err != nil {
		return err
	}
	return i.newAccountKey()
}

func template(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func (i *identity) newKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, i.writePEM(name, "PRIVATE KEY", der)
}

// newAccountKey makes the key of service account tokens, which kube-apiserver reads in SEC 1 form only.
func (i *identity) newAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return i.writePEM("accounts.key", "EC PRIVATE KEY", der)
}

func (i *identity) certify(name string, leaf, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, key.Public(), issuerKey)
	if err != nil {
		return err
	}
	return i.writePEM(name, "CERTIFICATE", der)
}

func (i *identity) writePEM(name, kind string, der []byte) error {
	return i.write(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (i *identity) write(name string, text []byte) error {
	return os.WriteFile(i.path(name), text, 0o600)
}

func (i *identity) adminClient() (*http.Client, error) {
	certificate, err := tls.LoadX509KeyPair(i.path("admin.crt"), i.path("admin.key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(i.path("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}}
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}, nil
}

func (i *identity) writeKubeconfig(path, server string) error {
	data := make([]any, 0, 4)
	data = append(data, server)
	for _, name := range []string{"ca.crt", "admin.crt", "admin.key"} {
		text, err := os.ReadFile(i.path(name))
		if err != nil {
			return err
		}
		data = append(data, base64.StdEncoding.EncodeToString(text))
	}
	return os.WriteFile(path, fmt.Appendf(nil, kubeconfig, data...), 0o600)
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: tests
contexts:
- name: tests
  context: {cluster: tests, user: admin}
clusters:
- name: tests
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: admin
  user:
    client-certificate-data: %s
    client-key-data: %s
`
