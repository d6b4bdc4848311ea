// Package conformance runs the official Gateway API conformance suite against the cluster that KUBECONFIG names.
package conformance

import (
	"testing"

	"sigs.k8s.io/gateway-api/conformance"
)

func TestGatewayAPI(t *testing.T) { conformance.RunConformance(t) }
