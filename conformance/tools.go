//go:build tools

package conformance

// The suite's backends, which scripts/conformance-lab builds.
import (
	_ "sigs.k8s.io/gateway-api/conformance/echo-basic"
	_ "sigs.k8s.io/gateway-api-inference-extension/cmd/lwepp"
)
