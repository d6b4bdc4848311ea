// Package inference runs the official conformance suite of the Inference Extension against the cluster that KUBECONFIG names.
package inference

import (
	"testing"

	"sigs.k8s.io/gateway-api-inference-extension/conformance"
)

func TestInference(t *testing.T) { conformance.RunConformance(t) }
